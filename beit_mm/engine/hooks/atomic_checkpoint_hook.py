import re
from concurrent.futures import Future, ThreadPoolExecutor
from difflib import get_close_matches
from inspect import signature
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop

from beit_mm.checkpoints import peek
from beit_mm.checkpoints.description import describe, tokenizer_of
from beit_mm.checkpoints.description.stored import KEY
from beit_mm.checkpoints.store import (
    POINTER,
    AtomicLocalBackend,
    NoUsableCheckpointError,
    bring_back,
    changed_settings,
    classes_of,
    lock,
    newest_valid,
    plain_message_hub,
    restored_message_hub,
    retire,
    retired,
    sweep,
    to_plain,
    why_broken,
    why_unfit,
    write_atomically,
)
from beit_mm.contracts.runner_access import at_update_boundary
from beit_mm.engine.guards.non_finite_guard_hook import NonFiniteError, first_non_finite
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """CheckpointHook whose checkpoints survive what interrupts their writing.

    A file appears under its name when it is whole and on the disk, then ``last_checkpoint`` names
    it (relative to the work dir, which may be moved), and only then an older one goes; the disk
    needs room for one more than ``max_keep_ckpts``. The best one is replaced in the same order.
    Saving waits for an update of the weights, where gradients are accumulated. Files hold tensors
    and plain values; ``meta['beit_mm']`` says what the run does to images, patches and tokens
    (:func:`beit_mm.checkpoints.description.describe`). ``resume=True`` takes the last one that is whole.

    A run that begins anew leaves those of earlier runs where they are, but ``resume=True`` passes
    them over from then on: the pointer becomes ``last_checkpoint.old``, and
    ``earlier_checkpoints.txt`` names them.

    Args:
        background: Write to the disk while the training goes on; a copy in memory is made first.
        max_failed_saves: The training goes on when a save fails, a full disk for example, with an
            error in the log; it stops when this many fail in a row, or the very last one.
        max_history: Entries kept of each logged scalar, in memory and in checkpoints.
        **kwargs: As CheckpointHook's, without backends: ``out_dir`` is a local folder.

    Raises:
        NoUsableCheckpointError: ``resume`` finds broken checkpoints alone, or one of another model,
            optimizer, schedule or loop.
        WorkDirInUseError: Another process trains in the work dir.
        NonFiniteError: A weight that is to be saved is NaN or infinite.
        ValueError: An argument is unknown; a checkpoint with an EMA is resumed without EMAHook.
    """

    def __init__(
        self,
        *args,
        background: bool = False,
        max_failed_saves: int = 3,
        max_history: int = 10_000,
        **kwargs,
    ):
        for key in ('backend_args', 'file_client_args'):
            if kwargs.get(key) is not None:
                raise ValueError(
                    f'AtomicCheckpointHook.{key}={kwargs[key]}: it writes local files alone; leave '
                    "it out, or take type='CheckpointHook' for remote storage"
                )
        super().__init__(*args, **kwargs)
        for key in self.args:  # which MMEngine would find at the first save
            known = [*signature(AtomicCheckpointHook).parameters][1:-1]
            known += [*signature(CheckpointHook).parameters][:-1]
            near = get_close_matches(key, known, n=1)
            raise ValueError(
                f'AtomicCheckpointHook.{key}: '
                + (f'did you mean {near[0]!r}?' if near else f'expected some of {sorted(known)}')
            )
        if '://' in str(self.out_dir):
            raise ValueError(
                f'AtomicCheckpointHook.out_dir={self.out_dir!r} is not a local folder; '
                "take type='CheckpointHook' for remote storage"
            )
        writer = str(id(self))
        AtomicLocalBackend.writers[writer] = self._submit
        self.backend_args = dict(backend='atomic_local', writer=writer)
        self.max_failed_saves, self.max_history = max_failed_saves, max_history
        self._executor = ThreadPoolExecutor(1) if background else None
        self._jobs: list[Future] = []
        self._failures = 0
        self._before_job: tuple | None = None  # what is known to be on the disk
        self._module_states: list[dict] = []  # of all processes, while a checkpoint is made
        self._due: int | None = None  # a save that waits for an update of the weights
        self._saved_iter: int | None = None
        self._digests: dict[str, str] | None = None  # of a frozen tokenizer
        self._lock = None  # of the work dir
        self.keep_ckpt_ids: list[int] = []

    # Resuming

    def before_run(self, runner) -> None:
        """Decide what ``resume=True`` means, for all processes alike."""
        trains = isinstance(runner._train_loop, BaseLoop)
        answer = [None, None]
        if is_main_process():
            try:
                if trains:
                    self._lock = lock(runner.work_dir)
                if runner._resume:
                    answer[0] = self._checkpoint_to_resume(runner)
                    if trains:
                        self._compare(runner, answer[0])
            except (NoUsableCheckpointError, ValueError) as error:
                answer[1] = error
        broadcast_object_list(answer)
        if answer[1]:
            raise answer[1]
        if runner._resume:
            runner._load_from = answer[0]
            runner._resume = answer[0] is not None

    def _compare(self, runner, path: str | None) -> None:
        """Refuse a checkpoint that the run can't go on from; say which settings won't count."""
        if path is None or '://' in str(path):
            return
        checkpoint = peek(path)
        begin = f'begin anew from its weights with load_from={str(path)!r} and resume=False'
        if reason := why_unfit(checkpoint, runner):
            raise NoUsableCheckpointError(
                f'Cannot resume from {path}: {reason}. Set it back to what the run began with, or '
                f'{begin}'
            )
        if changed := list(changed_settings(checkpoint, runner)):
            runner.logger.warning(
                f'The run goes on with the settings of the checkpoint, {", ".join(changed)}. To '
                f'train with those of the config, {begin}'
            )

    def _checkpoint_to_resume(self, runner) -> str | None:
        folder = self._folder(runner)
        given = runner._load_from
        if given is not None:
            if '://' not in str(given) and (reason := why_broken(given)):
                raise NoUsableCheckpointError(
                    f'Cannot resume from {given}: {reason}. Without a path, the last whole '
                    f'checkpoint in {folder} is taken'
                )
            return given
        path, skipped = newest_valid(runner.work_dir, folder, self.filename_tmpl)
        for broken, reason in skipped:
            runner.logger.warning(f'Checkpoint {broken} was skipped: {reason}')
        if path is None:
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
        runner.logger.info(f'Resuming from {path}')
        return str(path)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if isinstance(checkpoint.get('message_hub'), dict):
            hub = restored_message_hub(checkpoint['message_hub'], self.max_history)
            checkpoint['message_hub'] = hub
        if not runner._resume:
            return
        if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
            raise ValueError(
                'The checkpoint holds an EMA (ema_state_dict), but the config has no EMAHook: its '
                'state_dict are the averaged weights, and training would go on from them. Put '
                'EMAHook back into custom_hooks, or begin anew from them with load_from and '
                'resume=False'
            )
        if states := checkpoint.get('module_states'):
            state = states[get_rank() % len(states)]
            for name, module in _with_training_state(runner):
                if name in state:
                    module.load_training_state(state[name])
        if 'train_loop' in checkpoint and hasattr(runner._train_loop, 'load_state_dict'):
            runner._train_loop.load_state_dict(checkpoint['train_loop'])

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.out_dir = str(self.out_dir)
        self.keep_ckpt_ids = list(self.keep_ckpt_ids)
        names = ['best_ckpt'] if self.save_best and len(self.key_indicators) == 1 else []
        if names and self.best_ckpt_path:
            self.best_ckpt_path = self._here(self.best_ckpt_path)
        elif self.save_best and not names:
            best = self.best_ckpt_path_dict.items()
            self.best_ckpt_path_dict = {key: path and self._here(path) for key, path in best}
        if is_main_process():
            if left := sweep(self.out_dir):
                runner.logger.info(f'Removed what an interrupted save left: {", ".join(left)}')
            if not runner._resume and (names := retire(runner.work_dir, self.out_dir)):
                runner.logger.info(
                    f'A new run begins. Earlier checkpoints stay ({", ".join(sorted(names))}), but '
                    'resume=True takes one of them only if load_from names it'
                )
        self._saved_iter = runner.iter if runner._resume else None
        self._digests = None

    def _here(self, path: str) -> str:
        """A best checkpoint, after the work dir was moved."""
        return str(Path(self.out_dir) / Path(path).name)

    def _folder(self, runner) -> Path:
        """``out_dir`` as ``before_train`` will make it."""
        if self.out_dir is None or str(self.out_dir) == runner.work_dir:
            return Path(runner.work_dir)
        return Path(self.out_dir) / Path(runner.work_dir).name

    # When

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
            self._save_checkpoint_with_step(
                runner, number, meta=dict(epoch=runner.epoch, iter=step)
            )

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
        """In ``after_train_iter``, at an update of the weights: the path of this moment's file."""
        step = runner.iter + 1
        due = [self._saved_iter != step]
        broadcast_object_list(due)  # one knows of a save that failed, and all have to write
        if due[0]:
            meta = dict(epoch=runner.epoch, iter=step)
            if self.by_epoch:  # the next save of an epoch takes its place
                self._write(runner, f'iter_{step}.pth', meta, None)
            else:
                self._save_checkpoint_with_step(runner, step, meta)
        self._finish(runner)
        return str(self.last_ckpt)

    def after_train(self, runner) -> None:
        self._finish(runner)
        super().after_train(runner)

    def after_run(self, runner) -> None:
        if self._lock:
            self._lock.close()

    # How

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        self._write(runner, self.filename_tmpl.format(step), meta, step)

    def _write(self, runner, name: str, meta: dict, step: int | None) -> None:
        """Save, point at it, and then remove what is too old."""
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
        iteration = meta['iter']
        self._before_job = self._saved_iter, self.last_ckpt, self.keep_ckpt_ids
        # runner.save_checkpoint runs on the first process alone, this on all of them
        modules = _with_training_state(runner)
        if modules:
            own = {key: module.training_state() for key, module in modules}
            self._module_states = all_gather_object(own)
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                self._submit(self._point_and_rotate, runner.work_dir, path, outdated)
        except OSError as error:
            self._failed(runner, path, error)
            return
        finally:
            self._module_states = []
        self._saved_iter, self.last_ckpt, self.keep_ckpt_ids = iteration, str(path), kept
        if self._executor is None:
            self._failures = 0

    def _point_and_rotate(self, work_dir: str, path: Path, outdated: list[str]) -> None:
        folder = Path(work_dir).resolve()
        inside = path.resolve().is_relative_to(folder)
        target = path.resolve().relative_to(folder).as_posix() if inside else path.resolve()
        bring_back(folder, path.name)
        write_atomically(folder / POINTER, str(target).encode())
        for name in outdated:
            if name != path.name:
                path.with_name(name).unlink(missing_ok=True)

    def _failed(self, runner, path: Path, error: OSError, retry: bool = False) -> None:
        self._failures += 1
        message = (
            f'Saving {path} failed: {error}. Earlier checkpoints are untouched '
            f'(failure {self._failures} of {self.max_failed_saves} in a row)'
        )
        runner.logger.error(message)
        last = self.is_last_train_iter(runner) and not retry
        if self._failures >= self.max_failed_saves or last:
            raise OSError(f'{message}; make room or repair {self.out_dir}, then resume') from error

    def _submit(self, function, *args) -> None:
        """At once, or in the background after what was submitted before, if that went well."""
        if self._executor is None:
            function(*args)
        else:
            before = self._jobs[-1] if self._jobs else None
            self._jobs.append(self._executor.submit(_then, before, function, *args))

    def _collect(self, runner) -> None:
        """Wait for the save in the background; if it failed, it never was."""
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return
        try:
            jobs[-1].result()
            self._failures = 0
        except OSError as error:
            failed = Path(self.last_ckpt)
            if self._before_job:
                self._saved_iter, self.last_ckpt, self.keep_ckpt_ids = self._before_job
            self._failed(runner, failed, error, retry=True)

    def _finish(self, runner) -> None:
        """At the end, where a save that fails has no other chance."""
        jobs, self._jobs = self._jobs, []
        try:
            for job in jobs:
                job.result()
        except OSError as error:
            raise OSError(f'The last save to {self.out_dir} failed: {error}') from error

    def _save_best_checkpoint(self, runner, metrics: dict) -> None:
        """The new best is on the disk before the old one goes, and no other file is touched."""
        if not self.save_best:
            return
        single = len(self.key_indicators) == 1
        before = {'': self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        if single:
            self.best_ckpt_path = None
        else:
            self.best_ckpt_path_dict = dict.fromkeys(before)
        self._collect(runner)
        info = runner.message_hub.runtime_info
        known = {name: info[name] for name in info if name.startswith('best_')}
        last, self.last_ckpt = self.last_ckpt, None  # else the last one would be written again
        try:
            super()._save_best_checkpoint(runner, metrics)
            for job in self._jobs:
                job.result()
        except OSError as error:
            for name in [name for name in info if name.startswith('best_')]:
                del info[name]
            runner.message_hub.update_info_dict(known)
            self.best_ckpt_path = before.get('')
            self.best_ckpt_path_dict = dict(before)
            self._failed(runner, Path(self.out_dir) / 'best_*', error, retry=True)
            return
        finally:
            self.last_ckpt, self._jobs = last, []
        after = {'': self.best_ckpt_path} if single else dict(self.best_ckpt_path_dict)
        for key, old in before.items():
            if after.get(key) is None:
                after[key] = old
            elif old and old != after[key] and is_main_process():
                Path(old).unlink(missing_ok=True)
        if single:
            self.best_ckpt_path = after['']
        else:
            self.best_ckpt_path_dict = after

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """The last of the hooks (VERY_LOW): all that they put in becomes plain."""
        if hasattr(runner._train_loop, 'state_dict'):
            checkpoint['train_loop'] = runner._train_loop.state_dict()
        checkpoint['classes'] = classes_of(runner)
        for key in ('state_dict', 'ema_state_dict'):
            if name := first_non_finite(checkpoint.get(key, {})):
                raise NonFiniteError(
                    f'Iteration {checkpoint["meta"]["iter"]}: {name} of {key} is not finite, so no '
                    'checkpoint is written; the last one is from before. Resume from it with a '
                    'lower learning rate, or set optim_wrapper.clip_grad'
                )
        if self._module_states:
            checkpoint['module_states'] = self._module_states
        self._describe(runner, checkpoint)
        checkpoint['message_hub'] = plain_message_hub(checkpoint['message_hub'], self.max_history)
        for key in checkpoint:
            checkpoint[key] = to_plain(checkpoint[key], key)

    def _describe(self, runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        found = describe(model, runner.cfg, checkpoint['state_dict'], self._digests)
        checkpoint['meta'][KEY] = found
        if tokenizer_of(model)[1]:  # a part of the model, which no step changes
            names = ('sha256', 'weights_sha256')
            self._digests = {name: found['tokenizer'][name] for name in names}


def _then(before: Future | None, function, *args) -> None:
    if before is not None:
        before.result()
    function(*args)


def _with_training_state(runner) -> list:
    """(name, part) of modules and hooks that keep something for ``resume``, not in a state dict."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parts = [*model.named_modules(), *((f'{type(h).__name__}()', h) for h in runner.hooks)]
    return [(name, part) for name, part in parts if hasattr(part, 'training_state')]
