"""Which checkpoint a run goes on from, whether it can, and what becomes of the others."""

import re
from collections.abc import Mapping
from pathlib import Path

from beit_mm.checkpoints.store.atomic_file import sweep
from beit_mm.checkpoints.store.resume_fit import changed_settings, why_unfit
from beit_mm.checkpoints.store.saved_checkpoints import (
    NoUsableCheckpointError,
    newest_valid,
    retire,
    retired,
    steps_of,
    why_broken,
)


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
