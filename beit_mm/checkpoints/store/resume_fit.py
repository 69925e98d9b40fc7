"""Whether a run can go on from a checkpoint, and which settings of its config will not count."""

import inspect
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Tokenizer
from beit_mm.contracts.runner_access import flat_schedulers, model_of, optim_wrappers, schedulers_of
from beit_mm.contracts.tensor_names import rename_tensors

PARTS = ('state_dict', 'meta', 'message_hub', 'optimizer')
STATES, COUNTED = ('train_loop', 'classes'), ('iter', 'epoch', 'seed')
COUNTERS = ('params', 'lr', 'last_step', 'optimizer')  # not settings, or changed by schedules


def classes_of(runner) -> dict[str, list[str]]:
    """Return the class names of the objects whose states a checkpoint holds."""
    optimizers = [wrapper.optimizer for wrapper in optim_wrappers(runner)]
    named = {'optim_wrapper.optimizer': optimizers, 'param_scheduler': schedulers_of(runner)}
    return {key: [type(value).__name__ for value in values] for key, values in named.items()}


def with_todays_names(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Return a state dict with the names that its tokenizers give to tensors as they load it."""
    state = dict(state)
    for name, module in model.named_modules():
        if isinstance(module, Tokenizer):
            rename_tensors(state, f'{name}.' if name else '', module.renamed_tensors)
    return state


def why_unfit(checkpoint: Any, runner, loop: str | None) -> str | None:
    """Return why a run cannot go on from a checkpoint, or None.

    Args:
        checkpoint: Its tensors may be on ``meta``.
        loop: Class of the run's loop, which has to be that of the checkpoint; None for loops of
            MMEngine, which save no state.
    """
    if not isinstance(checkpoint, Mapping):
        return f'it holds a {type(checkpoint).__name__}'
    lacks = [part for part in PARTS if part not in checkpoint]
    for part in (*PARTS, *STATES):
        if not isinstance(checkpoint.get(part, {}), Mapping):
            return f'its {part} is {type(checkpoint[part]).__name__}, no dict'
    for name in COUNTED:
        value = checkpoint.get('meta', {}).get(name) or 0
        if not isinstance(value, Integral) or not 0 <= value < 2**63:
            return f'its meta.{name} is {value!r}; expected a whole number'
    schedulers = schedulers_of(runner)
    if not lacks and schedulers and 'param_schedulers' not in checkpoint:
        lacks = ['param_schedulers']
    if lacks:
        return f'it lacks {", ".join(lacks)}, as best checkpoints and files of weights alone do'
    before = checkpoint.get('train_loop', {}).get('loop', loop)
    if loop is not None and before != loop:
        return f'its train_cfg.type is {before}, here {loop}, which counts the data otherwise'
    saved = with_todays_names(checkpoint['state_dict'], model_of(runner))
    for name, parameter in model_of(runner).named_parameters():
        shape = tuple(parameter.shape)
        if parameter.requires_grad and (name not in saved or tuple(saved[name].shape) != shape):
            theirs = tuple(saved[name].shape) if name in saved else 'missing'
            return f'{name} of the model is {theirs} there and {shape} here'
    for key, names in classes_of(runner).items():
        theirs = checkpoint.get('classes', {}).get(key, names)
        if theirs != names:
            return f'its {key} is {_text(theirs)}, here {_text(names)}'
    if len(flat_schedulers(checkpoint.get('param_schedulers'))) != len(schedulers):
        return 'it has another number of param_scheduler entries than the config'
    for ours, theirs in zip(*_groups(checkpoint, runner), strict=True):
        sizes = [[len(group['params']) for group in groups] for groups in (theirs, ours)]
        if sizes[0] != sizes[1]:
            return f'its optimizer has groups of {sizes[0]} parameters, here they are {sizes[1]}'
    return None


def changed_settings(checkpoint: Mapping, runner) -> Iterator[str]:
    """Yield in words the settings of optimizer and schedules that the checkpoint's replace."""
    schedulers = schedulers_of(runner)
    for place, (ours, theirs) in enumerate(
        zip(schedulers, flat_schedulers(checkpoint.get('param_schedulers')), strict=True)
    ):
        for name in _arguments(ours):
            yield from _change(f'param_scheduler[{place}].{name}', vars(ours), theirs, name)
    scheduled = {scheduler.param_name for scheduler in schedulers}
    for ours, theirs in zip(*_groups(checkpoint, runner), strict=True):
        found = {}
        for own, saved in zip(ours, theirs, strict=True):
            for name in own.keys() - scheduled - set(COUNTERS if schedulers else COUNTERS[:1]):
                for text in _change(f'optim_wrapper.optimizer.{name}', own, saved, name):
                    found.setdefault(name, text)  # many groups, one setting
        yield from found.values()


def _groups(checkpoint: Mapping, runner) -> tuple[list, list]:
    """Return the parameter groups of the optimizers here and those in the checkpoint."""
    state = checkpoint['optimizer']
    states = [state] if 'param_groups' in state else list(state.values())
    ours = [wrapper.optimizer.param_groups for wrapper in optim_wrappers(runner)]
    return ours, [entry['param_groups'] for entry in states]


def _arguments(scheduler) -> list[str]:
    names = {name for cls in type(scheduler).__mro__ for name in _parameters(cls)}
    return sorted((names & set(vars(scheduler))) - set(COUNTERS))


def _parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls.__init__).parameters)[1:]


def _change(key: str, ours: Mapping, theirs: Mapping, name: str) -> Iterator[str]:
    if name in theirs and theirs[name] != ours[name]:
        yield f'{key}={theirs[name]} (here {ours[name]})'


def _text(names: list[str]) -> str:
    return ' and '.join(names) or 'none'
