"""set_sizes: one key for another image or patch size."""

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from shipped_configs import CONFIGS

from beit_mm.apis.load_model import _read_config
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError
from beit_mm.contracts.config_sizes import set_sizes
from beit_mm.contracts.config_walk import leaf_dataset_configs
from beit_mm.preflight.config import check_config

pytestmark = pytest.mark.slow

PRETRAIN = CONFIGS / 'pretrain/beit_beit-micro-p8_folder-64.py'
LEAVES = [
    'pretrain/beit_beit-micro-p8_folder-64.py',
    'pretrain/beit_beit-small-p16_folder-val.py',
    'pretrain/beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k.py',
    'classification/beit-micro-p8_beit_ft_folder-64.py',
    'classification/beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k.py',
    'segmentation/beit-micro-p8_beit_setr-naive_folder-64.py',
    'segmentation/beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512.py',
    'tokenizer/dvae_light-v256_folder-64.py',
    'tokenizer/vqkd_beit-v256_digit-scenes.py',
]


def sizes(**values):
    return {f'set_sizes.{name}': value for name, value in values.items()}


def found_in(config):
    return [str(finding) for finding in check_config(config) if finding.level != 'note']


@pytest.mark.parametrize('leaf', LEAVES)
@pytest.mark.parametrize('change', [dict(image=96), dict(patch=4), dict(image=120, patch=12)])
def test_sizes__of_a_shipped_config_fit_each_other(leaf, change):
    if 'patch' in change and leaf.startswith('tokenizer'):
        with pytest.raises(UserError, match='set_sizes: model.backbone has no patch_size'):
            load_config(CONFIGS / leaf, sizes(**change))
        return
    before = found_in(load_config(CONFIGS / leaf))
    config = load_config(CONFIGS / leaf, sizes(**change))
    assert 'set_sizes' not in config and found_in(config) == before


@pytest.mark.parametrize('image, patch', [(64, 8), (32, 8), (96, 16), (128, 4)])
def test_sizes__views_and_masks_have_one_grid(image, patch):
    config = load_config(PRETRAIN, sizes(image=image, patch=patch))
    assert (config.model.backbone.img_size, config.model.backbone.patch_size) == (image, patch)
    for leaf in leaf_dataset_configs(config):
        with DefaultScope.overwrite_default_scope('beit_mm'):
            pipeline = Compose(leaf.config.pipeline[1:])  # after the loading
        sample = pipeline(dict(img=np.zeros((200, 180, 3), np.uint8)))
        grid = image // patch
        assert sample['inputs'].shape[1:] == (image, image)
        assert sample['mask'].shape == (grid, grid)
        assert sample['token_inputs'].shape[1:] == (grid * 8, grid * 8)  # the stride
        assert abs(sample['mask'].float().mean() - 0.39) < 0.1


def test_sizes__of_a_pipeline_that_a_child_has_replaced_stay(tmp_path):
    path = tmp_path / 'mine.py'
    leaf = CONFIGS / 'classification/beit-micro-p8_beit_ft_folder-64.py'
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    path.write_text(
        f'_base_ = {str(leaf)!r}\ntrain_dataloader = dict(dataset=dict(pipeline={steps}))\n'
    )
    config = load_config(path, sizes(image=96))
    assert config.train_pipeline == load_config(path).train_pipeline
    assert config.test_pipeline == config.test_dataloader.dataset.pipeline
    assert not [finding for finding in found_in(config) if 'does not reach' in finding]


def test_sizes__of_windows_follow():
    leaf = CONFIGS / 'segmentation/beit-micro-p8_beit_setr-naive_folder-64.py'
    config = load_config(leaf, sizes(image=96))
    assert tuple(config.model.test_cfg.crop_size) == (96, 96)
    assert tuple(config.model.test_cfg.stride) == (63, 63)
    assert tuple(config.model.data_preprocessor.size) == (96, 96)
    crop = config.train_dataloader.dataset.pipeline[4]
    assert tuple(crop.crop_size) == (96, 96)


def test_sizes__as_they_are_change_nothing():
    same = load_config(PRETRAIN, sizes(image=64, patch=8)).to_dict()
    assert same == load_config(PRETRAIN).to_dict()


def test_sizes__can_stand_in_a_file(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f'_base_ = {str(PRETRAIN)!r}\nset_sizes = dict(image=96)\n')
    assert load_config(path).to_dict() == load_config(PRETRAIN, sizes(image=96)).to_dict()
    for config in (path, Config.fromfile(path)):  # of load_model(config=...)
        assert _read_config(config).model.backbone.img_size == 96


@pytest.mark.parametrize(
    'values, message',
    [
        (dict(image=60), 'patches of 8 pixels do not divide images of 60; take image=56 or'),
        (dict(image=0), 'set_sizes.image=0: expected a number of pixels'),
        (dict(image=True), 'set_sizes.image=True: expected a number of pixels'),
        (dict(patch='8'), "set_sizes.patch='8': expected a number of pixels"),
        (dict(size=32), "set_sizes={'size': 32}; expected a dict with image and patch"),
    ],
)
def test_sizes__that_are_wrong(values, message):
    with pytest.raises(UserError, match=message):
        load_config(PRETRAIN, sizes(**values))


def test_sizes__that_are_no_dict():
    with pytest.raises(UserError, match='set_sizes=96; expected a dict with image and patch'):
        load_config(PRETRAIN, dict(set_sizes=96))


def test_sizes__padding_of_a_segmentation_follows_the_patches():
    leaf = CONFIGS / 'segmentation/beit-micro-p8_beit_setr-naive_folder-64.py'
    config = load_config(leaf, sizes(patch=16))
    assert config.model.data_preprocessor.test_cfg.size_divisor == 16


def test_sizes__of_resizings_follow_and_what_means_no_size_stays():
    config = load_config(PRETRAIN)
    steps = [
        dict(type='RandomChoiceResize', scales=[64, (128, 64)]),
        dict(type='Resize', scale=(-1, 64)),
        dict(type='RandomResize', scale=[(64, 32), (128, 64)]),
    ]
    config.train_dataloader.dataset.pipeline[1:1] = steps
    set_sizes(config, image=32)
    found = config.train_dataloader.dataset.pipeline[1:4]
    assert found[0]['scales'] == [32, (64, 32)] and found[1]['scale'] == (-1, 32)
    assert found[2]['scale'] == [(32, 16), (64, 32)]


@pytest.mark.parametrize(
    'step',
    [
        dict(type='torchvision/RandomResizedCrop', size=64, scale=(0.2, 1.0)),
        dict(type='SimMIMMaskGenerator', input_size=64, mask_patch_size=16),
        dict(type='RandomApply', transforms=[dict(type='mine.Zoom', size=(64, 64))]),
    ],
)
def test_sizes__of_a_transform_that_is_not_known_are_not_guessed(step):
    config = load_config(PRETRAIN)
    config.train_dataloader.dataset.pipeline.insert(1, step)
    with pytest.raises(UserError, match='size is 64, too; set all sizes yourself'):
        set_sizes(config, image=96)


def test_sizes__of_an_encoder_that_does_not_say_its_patches():
    config = load_config(PRETRAIN)
    config.model.backbone = ConfigDict(type='torch.nn.Conv2d', img_size=64)
    with pytest.raises(UserError, match='model.backbone has no patch_size'):
        set_sizes(config, image=96)


def test_sizes__of_images_that_are_not_square(tmp_path):
    config = Config.fromfile(PRETRAIN)
    config.model.backbone.img_size = (64, 48)
    config.set_sizes = dict(image=32)
    config.dump(tmp_path / 'wide.py')
    with pytest.raises(UserError, match=r'no single size of the images was found \(\(64, 48\)\)'):
        load_config(tmp_path / 'wide.py')
