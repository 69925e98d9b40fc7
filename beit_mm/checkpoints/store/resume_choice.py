"""Which checkpoint a run goes on from, whether it can, and what becomes of the others."""

import inspect
import re
from collections.abc import Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

import torch.nn as nn
from torch import Tensor

from beit_mm.checkpoints.store.atomic_file import sweep
from beit_mm.checkpoints.store.saved_checkpoints import (
    NoUsableCheckpointError,
    newest_valid,
    retire,
    retired,
    steps_of,
    why_broken,
)
from beit_mm.contracts import Tokenizer
from beit_mm.contracts.runner_access import flat_schedulers, model_of, optim_wrappers, schedulers_of
from beit_mm.contracts.tensor_names import rename_tensors

PARTS = ('state_dict', 'meta', 'message_hub', 'optimizer')
STATES, COUNTED = ('train_loop', 'classes'), ('iter', 'epoch', 'seed')
COUNTERS = ('params', 'lr', 'last_step', 'optimizer')  # not settings, or changed by schedules


def choose_checkpoint(runner, folder: str | Path, template: str) -> str | None:
    """Return the checkpoint that ``resume=True`` means: ``load_from``, or the last whole one.

    Args:
        folder: Where the run saves.
        template: Names of its checkpoints, for example 'iter_{}.pth'.

    Returns:
        None where the run begins at iteration 0; the log says so.

    Raises:
        NoUsableCheckpointError: The one that ``load_from`` names is broken, or all are.
    """
    given = runner._load_from
    if given is not None:
        if '://' not in str(given) and (reason := why_broken(given)):
            raise NoUsableCheckpointError(
                f'Cannot resume from {given}: {reason}. Without a path, the last whole '
                f'checkpoint in {folder} is taken'
            )
        return given
    path, skipped = newest_valid(runner.work_dir, folder, template)
    for broken, reason in skipped:
        runner.logger.warning(f'Checkpoint {broken} was skipped: {reason}')
    if path is not None:
        runner.logger.info(f'Resuming from {path}')
        return str(path)
    earlier = [
        entry.name
        for entry in sorted(Path(runner.work_dir).iterdir())
        if re.fullmatch(r'\d{8}_\d{6}', entry.name) and entry.name != runner.timestamp
    ]
    others = ', '.join(sorted(retired(runner.work_dir)))
    runner.logger.warning(
        f'resume=True, but {folder} has no checkpoint'
        + (f' of the last run, only of earlier runs: {others}' if others else '')
        + (f' (earlier runs there: {", ".join(earlier)})' if earlier else '')
        + ': beginning at iteration 0'
    )
    return None


def refuse_unfit(checkpoint: Mapping, path: str, runner, loop: str | None) -> None:
    """Raise unless the run can go on from a checkpoint; log the settings that will not count.

    Args:
        checkpoint: The content of ``path``; its tensors may be on ``meta``.
        loop: Class of a loop that resumes within an epoch, as :func:`why_unfit` takes it.

    Raises:
        NoUsableCheckpointError: It is of another model, optimizer, schedule or loop.
    """
    begin = f'begin anew from its weights with load_from={str(path)!r} and resume=False'
    if reason := why_unfit(checkpoint, runner, loop):
        raise NoUsableCheckpointError(
            f'Cannot resume from {path}: {reason}. Set it back to what the run began with, or '
            f'{begin}'
        )
    if changed := list(changed_settings(checkpoint, runner)):
        runner.logger.warning(
            f'The run goes on with the settings of the checkpoint, {", ".join(changed)}. To '
            f'train with those of the config, {begin}'
        )


def disown_files(runner, folder: str | Path, template: str) -> None:
    """Take out of a resumed run's state the files that it must not remove.

    Rotation removes what the state names, which may come from anybody. What stays are checkpoints
    that the run before has saved in ``folder``, and only if the run goes on from one of them.

    Args:
        template: Names of the run's checkpoints, for example 'iter_{}.pth'.
    """
    info, folder, source = runner.message_hub.runtime_info, Path(folder), Path(runner._load_from)
    is_own = source.parent.resolve() == folder.resolve()
    earlier = retired(runner.work_dir)
    names = {entry.name for entry in folder.iterdir() if entry.is_file()} if is_own else set()
    names -= earlier
    steps = {step for step, path in steps_of(folder, template).items() if path.name in names}
    if 'keep_ckpt_ids' in info:
        ids = info['keep_ckpt_ids'] if isinstance(info['keep_ckpt_ids'], list) else []
        info['keep_ckpt_ids'] = sorted(steps & {step for step in ids if type(step) is int})
    best = re.compile('best_.+_' + re.escape(template).replace(re.escape('{}'), r'\d+'), re.DOTALL)
    for key in [key for key in info if key.startswith('best_ckpt')]:
        name = Path(info[key]).name if isinstance(info[key], str) else ''
        if name not in names or not best.fullmatch(name):
            info[key] = None
    if info.get('stop_ckpt') not in [name for name in names if name == source.name]:
        info['stop_ckpt'] = ''  # only the file of a stop names one, itself


def begin_run(runner, folder: str | Path) -> None:
    """Remove what killed writers left in ``folder``; retire its checkpoints unless it resumes."""
    if left := sweep(folder):
        runner.logger.info(f'Removed what an interrupted save left: {", ".join(left)}')
    if not runner._resume and (names := retire(runner.work_dir, folder)):
        runner.logger.info(
            f'A new run begins. Earlier checkpoints stay ({", ".join(sorted(names))}), but '
            'resume=True takes one of them only if load_from names it'
        )


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
    constructors = [cls.__init__ for cls in type(scheduler).__mro__]
    names = {name for one in constructors for name in inspect.signature(one).parameters}
    return sorted((names & set(vars(scheduler))) - set(COUNTERS))


def _change(key: str, ours: Mapping, theirs: Mapping, name: str) -> Iterator[str]:
    if name in theirs and theirs[name] != ours[name]:
        yield f'{key}={theirs[name]} (here {ours[name]})'


def _text(names: list[str]) -> str:
    return ' and '.join(names) or 'none'
