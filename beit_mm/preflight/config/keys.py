"""Keys that nothing reads."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from beit_mm.preflight.config.finding import Finding

# Read by the tools or by MMEngine outside of Runner's arguments.
TOP_LEVEL = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    *('custom_imports', 'runner_type', 'compile', 'model_wrapper_cfg', 'data_preprocessor'),
    *('vis_backends', 'tta_model', 'tta_pipeline', '_base_'),
}
# What the second generation of OpenMMLab calls what the first called otherwise.
OLD_NAMES = dict(
    optimizer='optim_wrapper = dict(optimizer=...)',
    optimizer_config='optim_wrapper = dict(clip_grad=...)',
    lr_config='param_scheduler',
    lr_scheduler='param_scheduler',
    runner='train_cfg',
    total_epochs='train_cfg = dict(max_epochs=...)',
    data='train_dataloader, val_dataloader and test_dataloader',
    evaluation='val_evaluator and train_cfg.val_interval',
    checkpoint_config='default_hooks = dict(checkpoint=...)',
    log_config='default_hooks = dict(logger=...)',
    workflow='train_cfg',
    resume_from='resume = True and load_from',
    dist_params='env_cfg = dict(dist_cfg=...)',
)
# Dicts whose keys MMEngine reads by name and ignores otherwise.
PLAIN_DICTS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {'backend', 'timeout', 'init_backend'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'optim_wrapper.clip_grad': {
        *('type', 'max_norm', 'norm_type', 'error_if_nonfinite', 'foreach', 'clip_value'),
    },
}
# MMEngine's, and those of configs/_base_/runtime.
DEFAULT_HOOKS = {
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    *('load_report', 'dataset_check', 'non_finite_guard', 'update_guard', 'prediction_guard'),
    *('run_record', 'graceful_stop'),
    *('worker_timeout', 'codebook_guard'),
}
# DefaultOptimWrapperConstructor
PARAMWISE = {
    *('lr_mult', 'decay_mult', 'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
    *('flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'),
}
BEIT_PARAMWISE = {'layer_decay_rate', 'decay_rel_pos', 'no_decay_names'}
# Below the model: what mmseg's segmentors and mmpretrain's classifiers read by name.
MODEL_CFGS = {'mode', 'crop_size', 'stride', 'size_divisor', 'augments', 'probs', 'multi_label'}
DATALOADER = {
    *(set(inspect.signature(DataLoader.__init__).parameters) - {'self'}),
    *('num_batch_per_epoch', 'type'),
}


def check_keys(config: Config) -> Iterator[Finding]:
    """Unknown keys at the top level and in the dicts that MMEngine reads by name."""
    yield from _top_level(config)
    for key, known in PLAIN_DICTS.items():
        yield from _unknown(value_at(config, key), known, key, level='error')
    for name, loader in config.items():
        if name.endswith('_dataloader') and isinstance(loader, dict):
            yield from _unknown(loader, DATALOADER, name, level='error')
    hooks = config.get('default_hooks') or {}
    for key in set(hooks) - DEFAULT_HOOKS:  # others may be added, but not by a slip of the pen
        if close := get_close_matches(key, DEFAULT_HOOKS, 1, 0.75):
            yield Finding('error', f'default_hooks.{key}', f"did you mean '{close[0]}'?")
        elif isinstance(hooks[key], dict) and 'type' not in hooks[key]:
            message = "has no 'type', and the bases have no hook of this name"
            yield Finding('error', f'default_hooks.{key}', message)
    wrapper = config.get('optim_wrapper') or {}
    constructor = wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    for owner, known in (('Default', PARAMWISE), ('BEiT', BEIT_PARAMWISE)):
        if constructor.split('.')[-1] == f'{owner}OptimWrapperConstructor':
            paramwise = wrapper.get('paramwise_cfg')
            yield from _unknown(paramwise, known, 'optim_wrapper.paramwise_cfg', level='error')
    for name in ('train_cfg', 'test_cfg'):  # others may be read there, but not by a slip of the pen
        for key in set(value_at(config, f'model.{name}') or {}) - MODEL_CFGS:
            if close := get_close_matches(key, MODEL_CFGS, 1, 0.75):
                yield Finding('error', f'model.{name}.{key}', f"did you mean '{close[0]}'?")


def _top_level(config: Config) -> Iterator[Finding]:
    if isinstance(config.get('resume'), str):
        yield Finding(
            'error',
            'resume',
            f'{config.resume!r} is read as True; set resume=True and load_from={config.resume!r}',
        )
    for key in set(config) - TOP_LEVEL:
        below = [
            (f'{name}.{place}', value)
            for name, part in config.items()
            if name != key and name in TOP_LEVEL
            for place, value in _values(part)
        ]
        below += [(name, config[name]) for name in TOP_LEVEL & set(config)]
        namesakes = [(place, value) for place, value in below if place.split('.')[-1] == key]
        if _is_used(config[key], [value for _, value in namesakes or below]):
            continue
        if key in OLD_NAMES:
            yield Finding('error', key, f'nothing reads it any more; use {OLD_NAMES[key]}')
        elif close := get_close_matches(key, TOP_LEVEL, 1, 0.75):
            yield Finding('error', key, f"nothing reads it; did you mean '{close[0]}'?")
        elif namesakes:
            place = namesakes[0][0]
            advice = f"did you mean '{place}', which is {_short(namesakes[0][1])}?"
            yield Finding('warning', key, f'nothing reads it here; {advice}')
        else:
            yield Finding('warning', key, 'nothing reads it; remove it, or correct its name')


def _is_used(value, others: list) -> bool:
    """Whether a variable of the config file stands in a part that is read.

    ``others`` are the values under keys of its name, if there are such: a child that sets a
    variable of its base changes nothing there.
    """
    if value in ({}, [], (), None, True, False):  # stands anywhere by chance
        return False
    return any(_stands_in(value, other) for other in others)


def _stands_in(value, other) -> bool:
    """As it is, as the beginning of a path, or as a part of a list (``[*load, ...]``)."""
    if isinstance(value, (list, tuple)):
        return isinstance(other, (list, tuple)) and all(part in other for part in value)
    if isinstance(value, str):
        return isinstance(other, str) and other.startswith(value)
    return value == other


def _values(part, key: str = '') -> Iterator[tuple[str, Any]]:
    """(key below ``part``, value) of all that is in it."""
    if isinstance(part, dict):
        inner = part.items()
    elif isinstance(part, (list, tuple)):
        inner = enumerate(part)
    else:
        return
    for name, value in inner:
        place = f'{key}.{name}' if key else str(name)
        yield place, value
        yield from _values(value, place)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


def _unknown(part, known: set[str], key: str, level: str) -> Iterator[Finding]:
    if not isinstance(part, dict):
        return
    for name in sorted(set(part) - known):
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else f'expected {", ".join(sorted(known))}'
        yield Finding(level, f'{key}.{name}', f'nothing reads it; {advice}')


def value_at(config: Config, key: str):
    part = dict(config)
    for name in key.split('.'):
        part = part.get(name) if isinstance(part, dict) else None
    return part
