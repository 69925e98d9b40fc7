"""What check_config finds by building the model on the meta device, and by looking for files."""

from pathlib import Path

import pytest
from mmengine.config import ConfigDict

import beit_mm
from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config import check_config

CONFIGS = Path(beit_mm.__file__).parents[1] / 'configs'
PRETRAIN = 'pretrain/beit_beit-micro-p8_digit-scenes.py'
CLASSIFICATION = 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py'
SEGMENTATION = 'segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py'


def errors(name: str, options: dict, **kwargs) -> dict[str, str]:
    found = check_config(load_config(CONFIGS / name, options), **kwargs)
    return {finding.place: finding.message for finding in found if finding.level == 'error'}


def test_check_config__reports_all_that_fails_at_once(tmp_path):
    (tmp_path / 'iter_3.pth').touch()
    found = errors(
        PRETRAIN,
        {
            'model.backbone.arch': 'mikro',
            'model.tokenizer.num_blocks': 'two',
            'model.tokenizer.init_cfg.checkpoint': str(tmp_path / 'iter_4.pth'),
            'train_dataloader.dataset.data_root': str(tmp_path / 'nowhere'),
            'val_dataloader.dataset.data_root': str(tmp_path),
            'train_pipeline': None,
            'train_dataloader.dataset.pipeline.2.num_masked': 99,
        },
        files=True,
    )
    assert {key: text for key, text in found.items() if 'pipeline' not in key} == {
        'model.backbone': "backbone.arch='mikro': expected one of ('micro', 'tiny', 'small', "
        "'base', 'large')",
        'model.tokenizer': "TypeError: 'str' object cannot be interpreted as an integer",
        'model.tokenizer.init_cfg.checkpoint': f'there is no {tmp_path}/iter_4.pth; {tmp_path} '
        'has iter_3.pth',
        'train_dataloader.dataset.data_root': f'there is no folder {tmp_path}/nowhere',
    }
    assert any('pipeline.2' in key for key in found)


@pytest.mark.parametrize(
    ('name', 'options', 'place', 'text'),
    [
        (PRETRAIN, {'model.head.dims': 100}, 'model', 'head.dims=100, but the backbone gives 128'),
        (
            CLASSIFICATION,
            {'model.head.in_channels': 100},
            'model.head',
            'does not fit what the neck gives, (2, 128)',
        ),
        (
            SEGMENTATION,
            {'model.decode_head.in_channels': 100},
            'model.decode_head',
            'does not fit what the backbone gives, (2, 128, 4, 4)',
        ),
    ],
)
def test_dims_that_do_not_fit__are_found_without_weights(name, options, place, text):
    assert not errors(name, {})
    found = errors(name, options)
    assert list(found) == [place] and text in found[place]


def test_models_of_others__are_not_built(monkeypatch):
    """A constructor may do what it likes, and need the memory that is not there."""
    options = {'model.neck': ConfigDict(type='torch.nn.Unknown')}
    assert 'model.neck.type' in errors(CLASSIFICATION, options)
    monkeypatch.setattr(beit_mm, 'Made', type('Made', (), {'__init__': None}), raising=False)
    assert not errors(CLASSIFICATION, {'model.head.type': 'beit_mm.Made'}).get('model.head')


def test_a_slip_in_one_part__hides_none_in_another():
    found = errors(
        PRETRAIN,
        {'model.backbone.arch': 'mikro', 'model.head.init_stdd': 0.1, 'model.neck.dims': 128},
    )
    assert "arch='mikro'" in found['model.backbone']
    assert "mean 'init_std'" in found['model.head.init_stdd']
    assert set(found) == {'model.backbone', 'model.head.init_stdd'}
