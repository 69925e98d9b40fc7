from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from numbers import Real
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import BaseLoop

from beit_mm.checkpoints import peek, store
from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import at_update_boundary
from beit_mm.engine.hooks.checkpoint_content import CheckpointContent, CheckpointNotSavedError
from beit_mm.engine.loops.resumable_loop import ResumableLoop
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """CheckpointHook whose checkpoints survive what interrupts their writing.

    A file appears under its name when it is whole and on the disk. Then ``last_checkpoint`` names
    it, and only then an older one goes: the disk needs room for one more than ``max_keep_ckpts``.
    The best one is replaced in the same order. With gradient accumulation a save waits for an
    update of the weights. Files hold tensors and plain values; ``meta['beit_mm']`` says what the
    run does to images, patches and tokens.

    ``resume=True`` takes the last checkpoint that is whole. A run that begins anew leaves those of
    earlier runs where they are, but ``resume=True`` passes them over from then on: the pointer
    becomes ``last_checkpoint.old``, and ``earlier_checkpoints.txt`` names them.

    Args:
        background: Write to the disk while the training goes on; a copy in memory is made first.
        max_failed_saves: The training goes on when a save fails, on a full disk for example, with
            an error in the log. It stops when this many fail in a row, or the very last one.
        max_history: Entries kept of each logged scalar, in memory and in checkpoints.
        **kwargs: Those of CheckpointHook, without backends: ``out_dir`` is a local folder.

    Raises:
        NoUsableCheckpointError: ``resume`` finds only broken checkpoints, or one that does not fit.
        WorkDirInUseError: Another process trains in the work dir.
        NonFiniteError: A weight that is to be saved is NaN or infinite.
        UserError: An argument is unknown; a checkpoint with an EMA is resumed without EMAHook.
    """

    def __init__(
        self,
        *args,
        background: bool = False,
        max_failed_saves: int = 3,
        max_history: int = 10_000,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        for key in ('backend_args', 'file_client_args', 'out_dir'):
            value = kwargs.get(key)
            if value is not None and (key != 'out_dir' or '://' in str(value)):
                raise UserError(
                    f'AtomicCheckpointHook.{key}={value!r}: it writes local files alone; leave '
                    "it out, or take type='CheckpointHook' for remote storage"
                )
        for key in ('interval', 'max_keep_ckpts', 'save_begin'):
            if not isinstance(value := vars(self)[key], Real):
                raise UserError(f'AtomicCheckpointHook.{key}={value!r}: expected a number')
        _refuse_unknown(self.args)
        self._queue = store.SaveQueue(background)
        writer = str(id(self))
        store.AtomicLocalBackend.writers[writer] = self._queue.submit
        self.backend_args = dict(backend='atomic_local', writer=writer)
        self.max_failed_saves, self._failures, self.max_history = max_failed_saves, 0, max_history
        self._content = CheckpointContent(max_history)
        self._on_disk: tuple | None = None  # (iteration, path, ids) before the latest save
        self._due: int | None = None  # a save that waits for an update of the weights
        self._saved_iter: int | None = None
        self._lock = None  # of the work dir
        self.keep_ckpt_ids: list[int] = []

    def before_run(self, runner) -> None:
        """Decide what ``resume=True`` means, for all processes alike."""
        answer = [None, None]
        if is_main_process():
            try:
                answer[0] = self._prepare(runner)
            except ValueError as error:
                answer[1] = error
        broadcast_object_list(answer)
        if answer[1]:
            raise answer[1]
        if runner._resume:
            runner._load_from = answer[0]
            runner._resume = answer[0] is not None

    def _prepare(self, runner) -> str | None:
        """Lock the work dir, and return the checkpoint to resume from."""
        trains = isinstance(runner._train_loop, BaseLoop)
        if trains:
            self._lock = store.lock(runner.work_dir)
        if not runner._resume or runner._has_loaded:  # a test of what was trained
            return runner._load_from
        path = store.choose_checkpoint(runner, self._folder(runner), self.filename_tmpl)
        if trains and path is not None and '://' not in str(path):
            is_resumable = isinstance(runner._train_loop, ResumableLoop)
            loop = type(runner._train_loop).__name__ if is_resumable else None
            store.refuse_unfit(peek(path), path, runner, loop)
        return path

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        self._content.restore(runner, checkpoint)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Complete the checkpoint, as the last of the hooks (VERY_LOW)."""
        self._content.complete(runner, checkpoint)

    def before_train(self, runner) -> None:
        if runner._resume:  # a checkpoint of somebody else names no file to remove
            store.disown_files(runner, self._folder(runner), self.filename_tmpl)
        super().before_train(runner)
        self.out_dir = str(self.out_dir)
        self.keep_ckpt_ids = list(self.keep_ckpt_ids)
        if self.save_best:  # the work dir may have been moved
            here, best = Path(self.out_dir), self._best.items()
            self._best = {key: path and str(here / Path(path).name) for key, path in best}
        if is_main_process():
            store.begin_run(runner, self.out_dir)
        self._saved_iter = runner.iter if runner._resume else None
        self._content.digests = None

    def _folder(self, runner) -> Path:
        """Return ``out_dir`` as ``before_train`` will make it."""
        work_dir, out_dir = Path(runner.work_dir), str(self.out_dir or runner.work_dir)
        return work_dir if out_dir == runner.work_dir else Path(out_dir) / work_dir.name

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for buffer in runner.message_hub.log_scalars.values():
            buffer.max_length = min(buffer.max_length, self.max_history)
        step = runner.iter + 1
        if not self.by_epoch and (
            self.every_n_train_iters(runner, self.interval, self.save_begin)
            or (self.save_last and self.is_last_train_iter(runner))
        ):
            self._due = step
        if self._due is not None and at_update_boundary(runner):
            number = self._due if self.by_epoch else step
            self._due = None
            runner.logger.info(f'Saving checkpoint at {step} iterations')
            meta = dict(epoch=runner.epoch, iter=step)
            self._save_checkpoint_with_step(runner, number, meta)

    def after_train_epoch(self, runner) -> None:
        if not self.by_epoch:
            return
        last = self.is_last_train_epoch(runner)
        if self.every_n_epochs(runner, self.interval, self.save_begin) or (self.save_last and last):
            if at_update_boundary(runner):
                runner.logger.info(f'Saving checkpoint at {runner.epoch + 1} epochs')
                self._save_checkpoint(runner)
            else:  # some steps into the next epoch
                self._due = runner.epoch + 1

    def save_now(self, runner) -> str:
        """Save in ``after_train_iter``, at an update of the weights, and return the path."""
        step = runner.iter + 1
        due = [self._saved_iter != step]
        broadcast_object_list(due)  # the first process knows of a save that failed
        meta = dict(epoch=runner.epoch, iter=step)
        if due[0] and self.by_epoch:  # until the next save of an epoch
            self._write(runner, f'iter_{step}.pth', meta, None)
        elif due[0]:
            self._save_checkpoint_with_step(runner, step, meta)
        self._finish()
        return str(self.last_ckpt)

    def after_train(self, runner) -> None:
        self._finish()
        super().after_train(runner)

    def after_run(self, runner) -> None:
        if self._lock:
            self._lock.release()

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._write(runner, self.filename_tmpl.format(step), meta, step)

    def _write(self, runner, name: str, meta: dict, step: int | None) -> None:
        """Save, point at the file, and then remove what is too old."""
        self._collect(runner)
        info = runner.message_hub.runtime_info
        outdated = [info['stop_ckpt']] if info.get('stop_ckpt') else []
        runner.message_hub.update_info('stop_ckpt', name if step is None else '')
        kept = [number for number in self.keep_ckpt_ids if step is None or number < step]
        kept += [] if step is None else [step]
        if self.max_keep_ckpts > 0:
            outdated += map(self.filename_tmpl.format, kept[: -self.max_keep_ckpts])
            kept = kept[-self.max_keep_ckpts :]
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        runner.message_hub.update_info('last_ckpt', name)
        path = Path(self.out_dir) / name
        self._on_disk = self._saved_iter, self.last_ckpt, self.keep_ckpt_ids
        self._content.gather(runner)  # on all processes; save_checkpoint runs on the first alone
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
            )
            if is_main_process():
                self._queue.submit(store.point_and_rotate, runner.work_dir, path, outdated)
        except OSError as error:
            self._failed(runner, path, error)
            return
        finally:
            self._content.states = []
        self._saved_iter, self.last_ckpt, self.keep_ckpt_ids = meta['iter'], str(path), kept
        if not self._queue.is_in_background:
            self._failures = 0

    def _failed(self, runner, path: Path, error: OSError, retry: bool = False) -> None:
        self._failures += 1
        message = (
            f'Saving {path} failed: {error}. Earlier checkpoints are untouched '
            f'(failure {self._failures} of {self.max_failed_saves} in a row)'
        )
        runner.logger.error(message)
        if self._failures >= self.max_failed_saves or not retry and self.is_last_train_iter(runner):
            raise CheckpointNotSavedError(f'{message}; make room, then resume') from error

    def _collect(self, runner) -> None:
        """Wait for the save in the background; if it failed, take it back."""
        try:
            if self._queue.wait():
                self._failures = 0
        except OSError as error:
            failed = Path(self.last_ckpt)
            if self._on_disk:
                self._saved_iter, self.last_ckpt, self.keep_ckpt_ids = self._on_disk
            self._failed(runner, failed, error, retry=True)

    def _finish(self) -> None:
        """Wait at the end, where a save that fails has no other chance."""
        try:
            self._queue.wait()
        except OSError as error:
            raise CheckpointNotSavedError(f'Last save: {error}; make room, then resume') from error

    @property
    def _best(self) -> dict[str, str | None]:
        """Return the best checkpoint of each metric; MMEngine keeps a single one elsewhere."""
        is_single = len(self.key_indicators) == 1
        return {'': self.best_ckpt_path} if is_single else dict(self.best_ckpt_path_dict)

    @_best.setter
    def _best(self, paths: dict[str, str | None]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = dict(paths)

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """Save a new best checkpoint of a training, and only then remove the old one."""
        if not self.save_best or not isinstance(runner._train_loop, BaseLoop):
            return
        before, self._best = self._best, dict.fromkeys(self._best)  # else it is removed first
        self._collect(runner)
        info = runner.message_hub.runtime_info
        known = {name: info[name] for name in info if name.startswith('best_')}
        # MMEngine's loops never repeat this validation: the last file is written again, with it.
        repeats = isinstance(runner._train_loop, ResumableLoop) or self._saved_iter != runner.iter
        last, self.last_ckpt = self.last_ckpt, None if repeats else self.last_ckpt
        try:
            super()._save_best_checkpoint(runner, metrics)
            self._queue.wait()
        except OSError as error:
            for name in [name for name in info if name.startswith('best_')]:
                del info[name]
            runner.message_hub.update_info_dict(known)
            self._best = before
            self._failed(runner, Path(self.out_dir) / 'best_*', error, retry=True)
            return
        finally:
            self.last_ckpt = last
        after = self._best
        for key, old in before.items():
            if old and after[key] not in (None, old) and is_main_process():
                Path(old).unlink(missing_ok=True)
        self._best = {key: path or before.get(key) for key, path in after.items()}


def _refuse_unknown(arguments: Mapping) -> None:
    """Raise a UserError for the first argument; MMEngine would refuse it at the first save."""
    for key in arguments:
        known = [*signature(AtomicCheckpointHook).parameters][1:-1]
        known += [*signature(CheckpointHook).parameters][:-1]
        near = get_close_matches(key, known, n=1)
        hint = f'did you mean {near[0]!r}?' if near else f'expected some of {sorted(known)}'
        raise UserError(f'AtomicCheckpointHook.{key}: {hint}')
