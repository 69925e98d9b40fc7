"""A class that fulfills only its contract trains inside the shipped configs, with all hooks on."""

import copy
import math
from pathlib import Path

import cv2
import minimal_plugins  # noqa: F401  (registers them)
import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from shipped_configs import ends_of, loaded

from beit_mm.checkpoints import read_checkpoint
from beit_mm.contracts import UserError
from beit_mm.contracts.config_sizes import set_sizes
from beit_mm.contracts.config_walk import walk_pipelines
from beit_mm.preflight.config import check_config
from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

STEPS = 20  # guards judge ten steps together
PRETRAIN = Path('pretrain/beit_beit-micro-p8_digit-scenes.py')
TOKENIZER = Path('tokenizer/dvae_light-v256_digit-scenes.py')
BRIGHTNESS = dict(_delete_=True, type='BrightnessTokenizer', vocab_size=16, stride=8)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for number in range(8):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{number}.png'), cv2.resize(coarse, (32, 32)))
    return folder


def config_of(leaf, images, work_dir, options):
    """Return a shipped config with every guard judging within a few steps."""
    config = copy.deepcopy(loaded(leaf))
    config.work_dir = str(work_dir)
    config.experiment_name = str(work_dir)  # MMEngine's has the second of the start
    config.log_level = 'WARNING'
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        config[name].update(batch_size=4, num_workers=0, persistent_workers=False)
        config[name].dataset.data_root = str(images)
    config.merge_from_dict(ends_of(config))
    config.merge_from_dict({'train_cfg.max_iters': STEPS, 'train_cfg.val_interval': STEPS})
    for name in ('prediction_guard', 'update_guard'):
        config.default_hooks[name].update(interval=10)
    config.default_hooks.prediction_guard.grace = 0
    config.default_hooks.codebook_guard.update(interval=5, grace=0, action='warn')
    config.merge_from_dict(options)
    return config


def train(config) -> Runner:
    assert [str(f) for f in check_config(config) if f.level == 'error'] == []
    runner = Runner.from_cfg(config)
    runner.train()
    runner.test()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == STEPS and all(map(math.isfinite, losses))
    read_checkpoint(next(Path(config.work_dir).glob('iter_*.pth')))
    return runner


@pytest.mark.parametrize(
    'options',
    [
        {'model.tokenizer': BRIGHTNESS},
        {'model.tokenizer': dict(_delete_=True, type='LearnedTokenizer')},
        {
            'model.tokenizer': dict(_delete_=True, type='BrightnessTarget'),
            'model.head': dict(_delete_=True, type='PlainRegression'),
            'val_evaluator': dict(_delete_=True, type='MaskedFeatureRegression'),
            'test_evaluator': dict(_delete_=True, type='MaskedFeatureRegression'),
        },
        {
            'model.tokenizer': BRIGHTNESS,
            'model.head': dict(_delete_=True, type='PlainHead', dims=128, classes=16),
        },
        {
            'model.tokenizer': BRIGHTNESS,
            'model.backbone': dict(_delete_=True, type='LinearBackbone'),
        },
        {
            'model.tokenizer': BRIGHTNESS,
            'model.neck': dict(_delete_=True, type='PlainNeck'),
        },
        {
            'model.tokenizer': BRIGHTNESS,
            'model.neck': dict(_delete_=True, type='NarrowNeck'),
        },
        {
            'model.tokenizer': dict(_delete_=True, type='FixedTokenizer'),
            'model.backbone': dict(_delete_=True, type='FixedBackbone'),
        },
        {
            'model.tokenizer': dict(_delete_=True, type='FixedTarget'),
            'model.head': dict(_delete_=True, type='FeatureRegressionHead'),
            'val_evaluator': dict(_delete_=True, type='MaskedFeatureRegression'),
            'test_evaluator': dict(_delete_=True, type='MaskedFeatureRegression'),
        },
        {
            'model.tokenizer': dict(
                _delete_=True,
                type='RandomProjectionTokenizer',
                vocab_size=16,
                features=dict(type='PatchMeans'),
            )
        },
    ],
    ids=[
        'tokenizer',
        'tokenizer-learned',
        'target',
        'head',
        'backbone',
        'neck',
        'narrow-neck',
        'sizes-in-constructors',
        'target-dims-in-constructor',
        'features',
    ],
)
def test_pre_training__with_one_minimal_plugin(options, images, tmp_path):
    runner = train(config_of(PRETRAIN, images, tmp_path, options))
    scalars = runner.message_hub.log_scalars
    if runner.model.tokenizer.vocab_size is not None:
        assert {'train/unigram_entropy', 'train/codebook/perplexity'} <= set(scalars)


def test_pre_training__with_a_minimal_mask_data_set_and_hook(images, tmp_path):
    config = config_of(PRETRAIN, images, tmp_path, {'model.tokenizer': BRIGHTNESS})
    pipeline = config.train_dataloader.dataset.pipeline
    (mask,) = [n for n, t in enumerate(pipeline) if t.type == 'BlockwiseMask']
    pipeline[mask] = dict(type='HalfMask', grid=4)
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(type='EverySecond', dataset=inner)
    config.custom_hooks = [dict(type='mmengine.CountingHook')]
    runner = train(config)
    (hook,) = [h for h in runner.hooks if isinstance(h, minimal_plugins.CountingHook)]
    assert hook.steps == STEPS

    config.train_cfg.max_iters = STEPS + 1
    config.resume = True
    config.experiment_name = 'resumed'
    resumed = Runner.from_cfg(config)
    resumed.train()
    (hook,) = [h for h in resumed.hooks if isinstance(h, minimal_plugins.CountingHook)]
    assert hook.steps == STEPS + 1


@pytest.mark.parametrize(
    'model',
    [
        dict(type='LearnedTokenizer', vocab_size=256),
        dict(
            type='KMeansTokenizer',
            vocab_size=16,
            features=dict(type='PatchMeans'),
            start_vectors=64,
        ),
    ],
    ids=['tokenizer', 'features'],
)
def test_tokenizer_training__with_a_minimal_plugin(model, images, tmp_path):
    options = {'model': dict(_delete_=True, **model), 'custom_hooks': []}
    for name in ('val_evaluator', 'test_evaluator'):
        options[f'{name}.vocab_size'] = model['vocab_size']
    runner = train(config_of(TOKENIZER, images, tmp_path, options))
    assert 'train/codebook/perplexity' in runner.message_hub.log_scalars


def test_part_without_its_contract__is_named(images, tmp_path):
    options = {'model.head': dict(_delete_=True, type='torch.nn.Identity')}
    with pytest.raises(
        ValueError, match=r'model\.head\.type=Identity does not derive from .*MIMHead'
    ):
        Runner.from_cfg(config_of(PRETRAIN, images, tmp_path, options))


def test_sizes__of_a_plugin_are_those_that_it_takes():
    """LinearBackbone has patches of 8 pixels unless it is told, and no img_size."""
    config = copy.deepcopy(loaded(PRETRAIN))
    config.merge_from_dict({'model.backbone': dict(_delete_=True, type='LinearBackbone')})
    set_sizes(config, image=64)
    assert config.model.backbone == dict(type='LinearBackbone', patch_size=8)
    masks = [step for _, steps in walk_pipelines(config) for step in steps if 'grid' in step]
    assert [mask['grid'] for mask in masks] == [8] * 3


def test_neck__without_main_is_named(images, tmp_path):
    config = config_of(PRETRAIN, images, tmp_path, {'model.tokenizer': BRIGHTNESS})
    model = MODELS.build(config.model)
    with pytest.raises(UserError, match=r"terms \['early'\]; one has to be 'main'"):
        model.losses(dict(early=torch.zeros(2, 128)), torch.zeros(2).long(), {})
