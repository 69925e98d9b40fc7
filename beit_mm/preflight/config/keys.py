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

# Dicts of which MMEngine reads these keys and passes over others.
IGNORES_OTHERS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {'backend', 'timeout', 'init_backend'},
    'auto_scale_lr': {'base_batch_size', 'enable'},
}
# Arguments of a method of the runner.
REFUSES_OTHERS = {'randomness': {'seed', 'diff_rank_seed', 'deterministic'}}
CLIP_GRAD = dict(norm=clip_grad_norm_, value=clip_grad_value_)  # by its type
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
    *('num_batch_per_epoch', 'disable_subprocess_warning', 'type'),
}


def check_keys(config: Config) -> Iterator[Finding]:
    """Yield unknown keys in the dicts that MMEngine reads by name.

    An error is what MMEngine stops at; it passes over other keys.
    """
    for key, known in IGNORES_OTHERS.items():
        yield from _unknown(value_at(config, key), known, key, 'warning')
    for key, known in REFUSES_OTHERS.items():
        yield from _unknown(value_at(config, key), known, key, 'error')
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
    for name in ('train_cfg', 'test_cfg'):  # a model may read other keys
        part = value_at(config, f'model.{name}')
        for key in set(part) - MODEL_CFGS if isinstance(part, Mapping) else ():
            if close := get_close_matches(str(key), MODEL_CFGS, 1, 0.75):
                yield Finding.warning(f'model.{name}.{key}', f"did you mean '{close[0]}'?")


def value_at(config: Config, key: str) -> Any:
    """Return the value under a key such as ``optim_wrapper.optimizer.lr``, None without any."""
    part = dict(config)
    for name in key.split('.'):
        if isinstance(part, list | tuple):
            part = dict(zip(map(str, range(len(part))), part, strict=True))
        part = part.get(name) if isinstance(part, dict) else None
    return part


def _hooks(hooks) -> Iterator[Finding]:
    """Find misspelt names, and hooks without a class; other hooks may be added."""
    for key in set(hooks) - DEFAULT_HOOKS if isinstance(hooks, Mapping) else ():
        if close := get_close_matches(str(key), DEFAULT_HOOKS, 1, 0.75):
            yield Finding.warning(f'default_hooks.{key}', f"did you mean '{close[0]}'?")
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


def _unknown(part, known: set[str], key: str, level: str) -> Iterator[Finding]:
    for name in sorted(map(str, set(part) - known)) if isinstance(part, Mapping) else ():
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else f'expected {", ".join(sorted(known))}'
        yield Finding(level, f'{key}.{name}', f'nothing reads it; {advice}')
