"""Keys of a config that nothing reads."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from beit_mm.contracts import Finding

# Arguments of Runner, and keys that MMEngine and the tools read besides.
TOP_LEVEL = {
    *(set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}),
    *('custom_imports', 'runner_type', 'compile', 'model_wrapper_cfg', 'data_preprocessor'),
    *('vis_backends', 'tta_model', 'tta_pipeline', '_base_'),
}
# Names of the first generation of OpenMMLab: those of the second.
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
# Those of MMEngine and of configs/_base_/runtime.
DEFAULT_HOOKS = {
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
    *('load_report', 'dataset_check', 'non_finite_guard', 'update_guard', 'prediction_guard'),
    *('codebook_guard', 'run_record', 'graceful_stop', 'worker_timeout'),
}
# DefaultOptimWrapperConstructor
PARAMWISE = {
    *('lr_mult', 'decay_mult', 'custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult'),
    *('flat_decay_mult', 'dwconv_decay_mult', 'dcn_offset_lr_mult', 'bypass_duplicate'),
}
BEIT_PARAMWISE = {'layer_decay_rate', 'decay_rel_pos', 'no_decay_names'}
# In model.train_cfg and test_cfg: keys of mmseg's segmentors and mmpretrain's classifiers.
MODEL_CFGS = {'mode', 'crop_size', 'stride', 'size_divisor', 'augments', 'probs', 'multi_label'}
DATALOADER = {
    *(set(inspect.signature(DataLoader.__init__).parameters) - {'self'}),
    *('num_batch_per_epoch', 'type'),
}


def check_keys(config: Config) -> Iterator[Finding]:
    """Yield unknown keys at the top level and in the dicts that MMEngine reads by name."""
    yield from _top_level(config)
    for key, known in PLAIN_DICTS.items():
        yield from _unknown(value_at(config, key), known, key)
    for name, loader in config.items():
        if name.endswith('_dataloader'):
            yield from _unknown(loader, DATALOADER, name)
    yield from _hooks(config.get('default_hooks') or {})
    wrapper = config.get('optim_wrapper') or {}
    constructor = wrapper.get('constructor', 'DefaultOptimWrapperConstructor')
    for owner, known in (('Default', PARAMWISE), ('BEiT', BEIT_PARAMWISE)):
        if constructor.split('.')[-1] == f'{owner}OptimWrapperConstructor':
            key = 'optim_wrapper.paramwise_cfg'
            yield from _unknown(wrapper.get('paramwise_cfg'), known, key)
    for name in ('train_cfg', 'test_cfg'):  # a model may read other keys, but no misspelt ones
        for key in set(value_at(config, f'model.{name}') or {}) - MODEL_CFGS:
            if close := get_close_matches(key, MODEL_CFGS, 1, 0.75):
                yield Finding('error', f'model.{name}.{key}', f"did you mean '{close[0]}'?")


def value_at(config: Config, key: str) -> Any:
    """Return the value under a key such as ``optim_wrapper.optimizer.lr``, None without any."""
    part = dict(config)
    for name in key.split('.'):
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _hooks(hooks: dict) -> Iterator[Finding]:
    """Find misspelt names; other hooks may be added."""
    for key in set(hooks) - DEFAULT_HOOKS:
        if close := get_close_matches(key, DEFAULT_HOOKS, 1, 0.75):
            yield Finding('error', f'default_hooks.{key}', f"did you mean '{close[0]}'?")
        elif isinstance(hooks[key], dict) and 'type' not in hooks[key]:
            message = "has no 'type', and the bases have no hook of this name"
            yield Finding('error', f'default_hooks.{key}', message)


def _top_level(config: Config) -> Iterator[Finding]:
    if isinstance(config.get('resume'), str):
        yield Finding(
            'error',
            'resume',
            f'{config.resume!r} is read as True; set resume=True and load_from={config.resume!r}',
        )
    files = list(_files_of(config)) if set(config) - TOP_LEVEL else []
    for key in set(config) - TOP_LEVEL:
        namesakes = _namesakes(config, key)
        if _is_used(config, key) or any(_is_used(file, key, config[key]) for file in files):
            continue
        if key in OLD_NAMES:
            yield Finding('error', key, f'nothing reads it any more; use {OLD_NAMES[key]}')
        elif not key.endswith('_pipeline') and (
            close := get_close_matches(key, TOP_LEVEL, 1, 0.75)
        ):
            yield Finding('error', key, f"nothing reads it; did you mean '{close[0]}'?")
        elif namesakes:
            place, value = namesakes[0][0], repr(namesakes[0][1])
            value = value if len(value) <= 40 else f'{value[:40]}...'
            message = f"nothing reads it here; did you mean '{place}', which is {value}?"
            yield Finding('warning', key, message)
        else:
            yield Finding('warning', key, 'nothing reads it; remove it, or correct its name')


def _files_of(config: Config) -> Iterator[Config]:
    """Yield each file that the config is made of, read by itself.

    Options and children may replace what a variable of a file stands in; it had its use there.
    """
    paths = [config.filename] if config.filename else []
    while paths:
        path = paths.pop()
        if Path(path).is_file():
            yield Config.fromfile(path)
            bases = Config._get_base_files(str(path))
            paths += [Config._get_cfg_path(base, str(path))[0] for base in bases]


def _below(config: Config, key: str) -> list[tuple[str, Any]]:
    """Return (place, value) of all that is read, except ``key``."""
    below = [
        (f'{name}.{place}', value)
        for name, part in config.items()
        if name != key and name in TOP_LEVEL
        for place, value in _values(part)
    ]
    return below + [(name, config[name]) for name in TOP_LEVEL & set(config)]


def _namesakes(config: Config, key: str) -> list[tuple[str, Any]]:
    return [pair for pair in _below(config, key) if pair[0].split('.')[-1] == key]


def _is_used(config: Config, key: str, value: Any = None) -> bool:
    """Return whether a variable, with ``value`` if one is given, is found in a part that is read.

    Where there are values under keys of its name, it has to be among these: a child that sets a
    variable of its base changes nothing there.
    """
    if key not in config or value not in (None, config[key]):
        return False
    if config[key] in ({}, [], (), None, True, False):  # too common to tell
        return False
    others = _namesakes(config, key) or _below(config, key)
    return any(_is_part(config[key], other) for _, other in others)


def _is_part(value, other) -> bool:
    """Return whether ``other`` is ``value``, a longer path, or a list that it was joined to."""
    if isinstance(value, list | tuple):
        return isinstance(other, list | tuple) and all(part in other for part in value)
    if isinstance(value, str):
        return isinstance(other, str) and other.startswith(value)
    return value == other


def _values(part, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield key and value of everything below ``part``."""
    if isinstance(part, dict):
        inner = part.items()
    else:
        inner = enumerate(part if isinstance(part, list | tuple) else ())
    for name, value in inner:
        place = f'{key}.{name}' if key else str(name)
        yield place, value
        yield from _values(value, place)


def _unknown(part, known: set[str], key: str) -> Iterator[Finding]:
    for name in sorted(set(part) - known) if isinstance(part, dict) else ():
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else f'expected {", ".join(sorted(known))}'
        yield Finding('error', f'{key}.{name}', f'nothing reads it; {advice}')
