import copy
import json

import numpy as np
import torch
from mmengine.config import Config

from beit_mm.cli.test import drop_pretrained
from beit_mm.cli.test_outputs import to_json


def test_evaluation_does_not_read_what_training_started_from():
    start = dict(type='Pretrained', checkpoint='x.pth')
    normal = dict(type='Normal', layer='Linear', std=0.01)
    config = Config(
        dict(
            model=dict(
                init_cfg=start,
                backbone=dict(init_cfg=dict(start, prefix='backbone.')),
                head=dict(init_cfg=[dict(normal), dict(start)]),
                heads=[dict(init_cfg=dict(start)), dict(init_cfg=None, a=[1, 'Pretrained'])],
            )
        )
    )
    drop_pretrained(config.model, held={'backbone.cls_token'})
    assert 'x.pth' not in config.pretty_text
    assert config.model.head.init_cfg == [normal]
    assert config.model.init_cfg is None and config.model.backbone.init_cfg is None
    assert config.model.heads[1].a == [1, 'Pretrained']


def test_metrics_become_json():
    metrics = [np.float32(0.5), np.arange(2), torch.tensor([0.25, 1]), torch.tensor(3), 2, 1.5]
    text = json.dumps([to_json(value) for value in metrics])
    assert json.loads(text) == [0.5, [0, 1], [0.25, 1.0], 3, 2, 1.5]


def test_drop_pretrained__what_the_checkpoint_holds():
    def part(**kwargs):
        return (
            dict(init_cfg=[dict(type='Normal'), dict(type='Pretrained', checkpoint='x')]) | kwargs
        )

    def seen(config, held):
        config = copy.deepcopy(config)
        drop_pretrained(config, held)
        found = []

        def look(value, path):
            if isinstance(value, dict) and 'init_cfg' in value:
                assert value['init_cfg'][0] == dict(type='Normal')
                if len(value['init_cfg']) == 2:
                    found.append(path)
            for name, child in value.items() if isinstance(value, dict) else enumerate(value):
                if name != 'init_cfg' and isinstance(child, dict | list):
                    look(child, f'{path}.{name}'.strip('.'))

        look(config, '')
        return found

    teacher = dict(backbone=part())
    mim = part(tokenizer=part(features=teacher), backbone=part(), heads=[part(), part()])
    assert seen(mim, {'backbone.x'}) == ['tokenizer', 'tokenizer.features.backbone']
    assert seen(mim, {'tokenizer.kmeans.x'}) == ['tokenizer.features.backbone']
    assert seen(mim, {'tokenizer.features.backbone.x'}) == []
    assert seen(part(teacher=teacher), {'encoder.x'}) == ['teacher.backbone']
