"""Keys that nothing reads, in the dicts of a config that MMEngine reads by name."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.config import Config
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import DATALOADERS, class_name

# Dicts of which MMEngine reads these keys; it passes over others, but for randomness.
READ_KEYS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {'backend', 'timeout', 'init_backend'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},  # arguments of a method
}
CLIP_GRAD = dict(norm=clip_grad_norm_, value=clip_grad_value_)  # by its type
# Those of MMEngine, which a config may remove, and of configs/_base_/runtime.
MMENGINE_HOOKS = (
    *('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint'),
)
DEFAULT_HOOKS = {
    *MMENGINE_HOOKS,
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
    *('num_batch_per_epoch', 'disable_subprocess_warning', 'type'),
}


def check_keys(config: Config) -> Iterator[Finding]:
    """Yield unknown keys in the dicts that MMEngine reads by name.

    An error is what MMEngine stops at; it passes over other keys.
    """
    for key, known in READ_KEYS.items():
        level = 'error' if key == 'randomness' else 'warning'
        yield from _unknown(value_at(config, key), known, key, level)
    yield from _clip_grad(value_at(config, 'optim_wrapper.clip_grad'))
    for name in DATALOADERS:
        yield from _unknown(config.get(name), DATALOADER, name, 'error')
    yield from _hooks(value_at(config, 'default_hooks'))
    constructor = value_at(config, 'optim_wrapper.constructor') or 'DefaultOptimWrapperConstructor'
    for owner, known, level in (
        ('Default', PARAMWISE, 'warning'),
        ('BEiT', BEIT_PARAMWISE, 'error'),
    ):
        if class_name(dict(type=constructor)) == f'{owner}OptimWrapperConstructor':
            key = 'optim_wrapper.paramwise_cfg'
            yield from _unknown(value_at(config, key), known, key, level)
    for key, known in (
        ('default_hooks', DEFAULT_HOOKS),  # others may be added
        ('model.train_cfg', MODEL_CFGS),  # a model may read other keys
        ('model.test_cfg', MODEL_CFGS),
    ):
        yield from _misspelt(value_at(config, key), known, key)


def value_at(config: Config, key: str) -> Any:
    """Return the value under a key such as ``optim_wrapper.optimizer.lr``, None without any."""
    part = dict(config)
    for name in key.split('.'):
        if isinstance(part, list | tuple):
            part = dict(zip(map(str, range(len(part))), part, strict=True))
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _hooks(hooks) -> Iterator[Finding]:
    """Find hooks without a class."""
    for key in hooks if isinstance(hooks, Mapping) else ():
        if isinstance(hooks[key], Mapping) and 'type' not in hooks[key]:
            close = get_close_matches(str(key), DEFAULT_HOOKS - {key}, 1, 0.75)
            advice = f"; did you mean '{close[0]}'?" if close else ''
            message = f"has no 'type', and the bases have no hook of this name{advice}"
            yield Finding.error(f'default_hooks.{key}', message)


def _clip_grad(clip) -> Iterator[Finding]:
    """Check the arguments of the function of PyTorch that ``type`` chooses."""
    kind = clip.get('type', 'norm') if isinstance(clip, Mapping) else 'norm'
    if not isinstance(kind, str) or kind not in CLIP_GRAD:
        message = f"{kind!r}; expected 'norm' or 'value'"
        yield Finding.error('optim_wrapper.clip_grad.type', message)
        return
    known = set(inspect.signature(CLIP_GRAD[kind]).parameters) - {'parameters'}
    yield from _unknown(clip, known | {'type'}, 'optim_wrapper.clip_grad', 'error')


def _misspelt(part, known: set[str], key: str) -> Iterator[Finding]:
    for name in set(part) - known if isinstance(part, Mapping) else ():
        if close := get_close_matches(str(name), known, 1, 0.75):
            yield Finding.warning(f'{key}.{name}', f"did you mean '{close[0]}'?")


def _unknown(part, known: set[str], key: str, level: str) -> Iterator[Finding]:
    for name in sorted(map(str, set(part) - known)) if isinstance(part, Mapping) else ():
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else f'expected {", ".join(sorted(known))}'
        yield Finding(level, f'{key}.{name}', f'nothing reads it; {advice}')
