"""Run shipped configs with guards that look at each step: they have nothing to warn of."""

import copy
import re
from pathlib import Path

import pytest
from mmengine.runner import Runner
from shipped_configs import LEAVES, loaded, options_of

pytestmark = pytest.mark.slow

GUARDS = ('update', 'prediction')
STEPS = 12  # ten are judged together
# Each kind of tokenizer, head and schedule.
SOME = (
    'dvae_light-v256_digit-scenes',
    'fsq_8x6x5-v240_digit-scenes',
    'kmeans_pixels-v256_digit-scenes',
    'lfq_v256_digit-scenes',
    'rvq_16x2-v256_digit-scenes',
    'vqkd_clip-base-p16-dec3_8xb64-amp-coslr-100e_in1k',
    'vqvae_ema-v256_digit-scenes',
    'beit_beit-micro-p8-soft_digit-scenes',
    'beitv2_beit-base-p16_8xb256-amp-coslr-300e_in1k',
    'mim-pixels_beit-micro-p8_digit-scenes',
    'beit-base-p16_beit-800e_8xb128-amp-coslr-100e_in1k',
    'beit-micro-p8_beit_linear-probe_digit-scenes-500',
    'beit-base-p16_beit-800e_upernet_8xb2-amp-160k_ade20k-512x512',
    'beit-micro-p8_beit_setr-naive_digit-scenes-500',
)


@pytest.mark.parametrize('leaf', LEAVES, ids=lambda leaf: leaf.stem)
def test_guards_are_on(leaf):
    hooks = loaded(leaf).default_hooks
    for name in GUARDS:
        hook = hooks[f'{name}_guard']
        assert hook.type == f'beit_mm.{name.title().replace("_", "")}GuardHook'
        off = name == 'update' and leaf.stem.startswith('kmeans_')
        assert hook.get('action', 'warn') == ('off' if off else 'warn')
    masked = leaf.parts[0] in ('tokenizer', 'pretrain')
    assert hooks.update_guard.get('ignore') == (None if masked else ['backbone.mask_token'])


@pytest.mark.parametrize('leaf', [leaf for leaf in LEAVES if leaf.parts[0] == 'pretrain'], ids=str)
def test_probe_is_on__with_labels_where_there_are_some(leaf):
    probe = loaded(leaf).default_hooks.probe
    assert probe.type == 'beit_mm.ProbeHook'
    assert ('dataset' in probe) == ('folder' not in leaf.stem)


def warnings_of(leaf, work_dir) -> list[str]:
    config = copy.deepcopy(loaded(leaf))
    options = options_of(config, work_dir) | {'log_level': 'WARNING'}
    options |= {f'default_hooks.{name}_guard.interval': 1 for name in GUARDS}
    # What so few images and steps teach is no better than chance.
    options['default_hooks.prediction_guard.grace'] = STEPS
    length = 'max_epochs' if 'Epoch' in config.train_cfg.type else 'max_iters'
    options[f'train_cfg.{length}'] = STEPS  # two images are an epoch
    config.merge_from_dict(options)
    config.train_cfg.val_begin = 10**6
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == STEPS
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    return [line for line in re.split(r'\n(?=\d{4}/\d\d)', log) if 'docs/health.md' in line]


@pytest.mark.parametrize('leaf', [leaf for leaf in LEAVES if leaf.stem in SOME], ids=str)
def test_guards__nothing_to_tell_in_the_first_steps(leaf, tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree)
    assert warnings_of(leaf, tmp_path) == []


def test_some__are_there():
    assert {leaf.stem for leaf in LEAVES} >= set(SOME)
