"""Keys that nothing reads."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from .finding import Finding

# Read by the tools or by MMEngine outside of Runner's arguments.
TOP_LEVEL = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    *('custom_imports', 'runner_type', 'compile', 'model_wrapper_cfg', 'data_preprocessor'),
    *('vis_backends', 'tta_model', 'tta_pipeline'),
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
}
DEFAULT_HOOKS = {
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
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
        yield from _unknown(_at(config, key), known, key, level='error')
    for name, loader in config.items():
        if name.endswith('_dataloader') and isinstance(loader, dict):
            yield from _unknown(loader, DATALOADER, name, level='error')
    hooks = config.get('default_hooks') or {}
    for key in set(hooks) - DEFAULT_HOOKS:  # others may be added, but not by a slip of the pen
        if close := get_close_matches(key, DEFAULT_HOOKS, 1, 0.75):
            yield Finding('error', f'default_hooks.{key}', f"did you mean '{close[0]}'?")
    wrapper = config.get('optim_wrapper') or {}
    constructor = wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    for owner, known in (('Default', PARAMWISE), ('BEiT', BEIT_PARAMWISE)):
        if constructor.split('.')[-1] == f'{owner}OptimWrapperConstructor':
            paramwise = wrapper.get('paramwise_cfg')
            yield from _unknown(paramwise, known, 'optim_wrapper.paramwise_cfg', level='error')
    for name in ('train_cfg', 'test_cfg'):  # others may be read there, but not by a slip of the pen
        for key in set(_at(config, f'model.{name}') or {}) - MODEL_CFGS:
            if close := get_close_matches(key, MODEL_CFGS, 1, 0.75):
                yield Finding('error', f'model.{name}.{key}', f"did you mean '{close[0]}'?")


def _top_level(config: Config) -> Iterator[Finding]:
    for key in set(config) - TOP_LEVEL:
        if _is_used(config, key):
            continue
        if key in OLD_NAMES:
            yield Finding('error', key, f'nothing reads it any more; use {OLD_NAMES[key]}')
        elif close := get_close_matches(key, TOP_LEVEL, 1, 0.75):
            yield Finding('error', key, f"nothing reads it; did you mean '{close[0]}'?")
        else:
            yield Finding('warning', key, 'nothing reads it; remove it, or correct its name')


def _is_used(config: Config, key: str) -> bool:
    """Whether a variable of the config file stands in a part that is read."""
    value = config[key]
    if value in ({}, [], (), None, True, False):  # stands anywhere by chance
        return False
    return any(
        _stands_in(value, other)
        for name, part in config.items()
        if name != key and name in TOP_LEVEL
        for other in _values(part)
    )


def _stands_in(value, other) -> bool:
    """As it is, as the beginning of a path, or as a part of a list (``[*load, ...]``)."""
    if isinstance(value, (list, tuple)):
        return isinstance(other, (list, tuple)) and all(part in other for part in value)
    if isinstance(value, str):
        return isinstance(other, str) and other.startswith(value)
    return value == other


def _values(part) -> Iterator:
    yield part
    if isinstance(part, dict):
        for value in part.values():
            yield from _values(value)
    elif isinstance(part, (list, tuple)):
        for value in part:
            yield from _values(value)


def _unknown(part, known: set[str], key: str, level: str) -> Iterator[Finding]:
    if not isinstance(part, dict):
        return
    for name in sorted(set(part) - known):
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else f'expected {", ".join(sorted(known))}'
        yield Finding(level, f'{key}.{name}', f'nothing reads it; {advice}')


def _at(config: Config, key: str):
    part = dict(config)
    for name in key.split('.'):
        part = part.get(name) if isinstance(part, dict) else None
    return part
