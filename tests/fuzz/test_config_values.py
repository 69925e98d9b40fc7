"""Odd values anywhere in a shipped config: the check finds its words and never fails."""

import random
from pathlib import Path

import pytest
from mmengine.config import Config

from beit_mm.cli.config_loading import load_config
from beit_mm.preflight.config import check_config

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
LEAVES = (
    'tokenizer/dvae_light-v256_digit-scenes.py',
    'pretrain/beit_beit-micro-p8_digit-scenes.py',
    'classification/beit-micro-p8_beit_ft_digit-scenes-500.py',
    'segmentation/beit-micro-p8_beit_setr-pup_digit-scenes-500.py',
)
ODD = (
    *(None, 0, -1, 1.5, float('nan'), float('inf'), 10**12, True, False, '', 'abc', '5', 'no'),
    *([], [0], [None], [[]], (), (1, 2, 3), {}, dict(a=1), dict(type=None), dict(type='Nothing')),
    *(dict(type=5), [dict()], [dict(type='x')], b'bytes', {1, 2}, 1j, object(), lambda x: x, dict),
    *(Path('x'), range(3)),
)


def places(part, place: tuple = ()) -> list[tuple]:
    """Return the paths of all values of a config."""
    if isinstance(part, dict):
        inner = part.items()
    else:
        inner = enumerate(part) if isinstance(part, list) else ()
    return [p for key, value in inner for p in [(*place, key), *places(value, (*place, key))]]


def corrupted(whole: dict, draw: random.Random) -> tuple[tuple, str]:
    """Change one value, leave one out, misspell a key or a text; return where and how."""
    place = draw.choice(places(whole))
    *path, last = place
    owner = whole
    for key in path:
        owner = owner[key]
    kind = draw.choice(('value', 'value', 'missing', 'key', 'text'))
    if kind == 'text' and not isinstance(owner[last], str):
        kind = 'value'
    if kind == 'value':
        owner[last] = draw.choice(ODD)
    elif kind == 'text':
        owner[last] = owner[last][:-1]
    elif kind == 'key' and isinstance(owner, dict):
        owner[draw.choice((f'{last}s', last[1:], 5, None))] = owner.pop(last)
    else:
        del owner[last]
    return place, f'{kind}: {owner!r:.120}'


@pytest.mark.parametrize('leaf', LEAVES)
@pytest.mark.parametrize('seed', range(3))
def test_check__never_fails(leaf, seed):
    draw = random.Random(f'{leaf} {seed}')
    for _ in range(4):
        whole = load_config(CONFIGS / leaf).to_dict()
        changes = [corrupted(whole, draw) for _ in range(draw.randint(1, 3))]
        found = check_config(Config(whole))
        failed = [str(finding) for finding in found if finding.place.startswith('check_')]
        assert not failed, (failed, changes)


@pytest.mark.parametrize(
    'change, key',
    [
        ({'model.backbone': 5}, 'model.backbone'),
        ({'model.backbone.type': None}, 'model.backbone.type'),
        ({'model.backbone.type': 'mmpretrian.ResNet'}, 'model.backbone.type'),
        ({'train_dataloader.dataset.pipeline.0.type': 'beitmm.Load'}, None),
        ({'train_dataloader.dataset.pipeline.2.mask_ratio': 0.4}, None),
        ({'train_dataloader.dataset.pipeline.2.num_masked': 'six'}, None),
        ({'train_dataloader.dataset.pipeline.1.scale': 'all'}, None),
        ({'train_dataloader.batch_size': 0}, 'train_dataloader.batch_size'),
        ({'train_dataloader.num_workers': -1}, 'train_dataloader.num_workers'),
        ({'train_dataloader.drop_last': 'no'}, 'train_dataloader.drop_last'),
        ({'train_cfg.max_iters': 0}, 'train_cfg.max_iters'),
        ({'train_cfg.max_iters': '400'}, 'train_cfg.max_iters'),
        ({'train_cfg.val_interval': 0}, 'train_cfg.val_interval'),
        ({'optim_wrapper.optimizer.lr': None}, 'optim_wrapper.optimizer'),
        ({'optim_wrapper.optimizer.betas': 3}, 'optim_wrapper.optimizer'),
        ({'optim_wrapper.clip_grad': dict(max_norm=[1])}, 'optim_wrapper'),
        ({'optim_wrapper.accumulative_counts': 0}, 'optim_wrapper'),
        ({'param_scheduler.0.start_factor': 'all'}, 'param_scheduler.0'),
        ({'param_scheduler.0': 3}, 'param_scheduler.0'),
        ({'default_hooks.checkpoint': dict(interval=3)}, 'default_hooks.checkpoint'),
        ({'default_hooks.non_finite_guard.max_skips': 'x'}, None),
        ({'data_preprocessor.mean': [1.0]}, None),
        ({'default_scope': 3}, 'default_scope'),
        ({'visualizer.type': 'abc'}, 'visualizer.type'),
        ({'resume': 'off'}, 'resume'),
        ({'model.backbone.final_norm': 'no'}, 'model.backbone.final_norm'),
    ],
)
def test_wrong_values__are_errors_under_their_key(change, key):
    whole = load_config(CONFIGS / LEAVES[1]).to_dict()
    for place, value in change.items():
        *path, last = (int(part) if part.isdigit() else part for part in place.split('.'))
        owner = whole
        for part in path:
            owner = owner[part]
        owner[last] = value
    found = {f.place: f.message for f in check_config(Config(whole)) if f.level == 'error'}
    near = {place: m for place, m in found.items() if next(iter(change)).startswith(place)}
    assert near, found
    if key is not None:
        assert key in found, found


NEEDED = (
    *('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'),
    *('optim_wrapper.clip_grad.max_norm', 'param_scheduler.0.start_factor'),
    *('param_scheduler.1.begin', 'train_dataloader.num_workers', 'data_preprocessor.std.1'),
    *('data_preprocessor.mean.0', 'model.backbone.patch_size', 'model.backbone.img_size'),
    *('model.tokenizer.in_channels', 'model.tokenizer.num_blocks', 'train_cfg.val_interval'),
    *('default_hooks.checkpoint.interval', 'train_dataloader.dataset.pipeline.2.grid'),
)


@pytest.mark.parametrize('key', NEEDED)
def test_none_for_a_number__is_one_error_that_names_the_key(key):
    whole = load_config(CONFIGS / LEAVES[1]).to_dict()
    *path, last = (int(part) if part.isdigit() else part for part in key.split('.'))
    owner = whole
    for part in path:
        owner = owner[part]
    assert owner[last] is not None
    owner[last] = None
    (found,) = (f for f in check_config(Config(whole)) if f.level == 'error')
    assert key.startswith(found.place)
    rest = key.removeprefix(found.place).lstrip('.')
    assert rest in found.message and 'None' in found.message, found
