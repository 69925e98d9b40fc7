import hashlib
import os
import random
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from beit_mm.contracts import UserError, warn
from beit_mm.contracts.runner_access import file_of
from beit_mm.contracts.sample_source import leaf_datasets
from beit_mm.datasets.path_samples import PathSamples
from beit_mm.datasets.samplers import ResumableSampler
from beit_mm.datasets.shared_batch import share_batches
from beit_mm.datasets.worker_errors import DataWorkerError, why_worker_failed

NAMES = 2**16  # samples by which a data set is known again; their names take 0.4 s
TRAINING, VALIDATION = 0, 1  # two streams of random numbers


class ResumableLoop:
    """Base of both training loops: go on bit-identically from any update. It is mixed in first.

    Random numbers are functions of counters, not of history. Each training step seeds the process
    by (seed, iteration), each sample is seeded by its place (ResumableSampler, SeededDataset), each
    validation by the seed. So no state of a generator has to be saved.
    ``randomness.diff_rank_seed=True`` gives each process its own numbers in a step.

    Attributes:
        offset: Samples that are done by all processes: of the epoch, or since the beginning in a
            loop of iterations.
        place: Epoch and offset at which the next batch begins.
        progress: What a validation is due by, epochs or iterations: done, and in all.
        counted_offset: The offset by the counters alone, for a checkpoint that says none.
        batch_start: Epoch and offset at which the current batch begins.
    """

    offset: int = 0
    batch_start: tuple[int, int] = (0, 0)

    def __init__(self, runner, dataloader: dict | DataLoader, *args, **kwargs):
        super().__init__(runner, _with_seeded_samples(dataloader), *args, **kwargs)
        self.sampler = self.dataloader.sampler
        if self.dataloader.batch_size is None or not isinstance(self.sampler, ResumableSampler):
            raise UserError(
                f'train_cfg.type={type(self).__name__} needs train_dataloader.sampler=dict('
                f"type='beit_mm.ResumableSampler', shuffle=True) and no batch_sampler, got "
                f'{type(self.sampler).__name__}; change the sampler, or take the loop of the '
                'same kind from mmengine and do without exact resume'
            )
        share_batches(self.dataloader)
        self.dataloader.pin_memory |= torch.cuda.is_available()
        self.saved: dict | None = None
        self._leave_out_late_schedules()

    @property
    def samples_per_iter(self) -> int:
        """Return the samples of an iteration, of all processes together."""
        return self.dataloader.batch_size * get_world_size()

    @property
    def seed(self) -> int:
        """Return the runner's seed, which a checkpoint may restore after the loop was built."""
        return _seed_of(self.runner)

    def _leave_out_late_schedules(self) -> None:
        """Drop schedules that would begin after a run that was cut short, and say so.

        MMEngine gives a schedule without ``end`` that of the run, and stops at one that would end
        before it begins.
        """
        schedules = self.runner.param_schedulers
        if not isinstance(schedules, list | tuple):
            return
        kept = []
        for place, one in enumerate(schedules):
            is_config = isinstance(one, Mapping) and 'end' not in one
            begin = one.get('begin', 0) if is_config else 0
            end = self.max_epochs if is_config and one.get('by_epoch', True) else self.max_iters
            if begin == 0 or begin < end:
                kept.append(one)
                continue
            warn(
                f'param_scheduler.{place} begins at {begin}, but the training ends at {end}: it is '
                'left out; set begin of it, and end of the one before, in proportion'
            )
        self.runner.param_schedulers = kept

    def state_dict(self) -> dict:
        """Return where the next batch begins, for a checkpoint."""
        return dict(
            loop=type(self).__name__,
            offset=self.offset,
            samples_per_iter=self.samples_per_iter,
            dataset_size=self.sampler.size,
            dataset_paths=self.dataset_names,  # 'dataset_names' is of fewer samples
        )

    @cached_property
    def dataset_names(self) -> str | None:
        """Return a hash of the names of the samples in their order; None if they have none.

        Folders that all paths have in common are left out, but for the last one: the data may have
        moved. Of data sets beyond ``NAMES`` samples, spread ones are taken, and the whole list
        where it is one array of bytes.
        """
        dataset, size = self.dataloader.dataset, self.sampler.size
        places = np.linspace(0, size - 1, min(size, NAMES)).round().astype(int).tolist()
        try:
            paths = [str(dataset.get_data_info(place)['img_path']) for place in places]
        except Exception:  # a data set of any library, which may have neither
            return None
        paths = [path.replace('\\', '/') for path in paths]
        start = os.path.commonprefix(paths).rfind('/') + 1
        text = '\n'.join(path[min(start, _last_two(path)) :] for path in paths)
        names = hashlib.sha256(text.encode('utf-8', 'surrogateescape'))
        for part in leaf_datasets(dataset) if size > NAMES else ():
            if isinstance(samples := vars(part).get('data_list'), PathSamples):
                names.update(samples.content)
                names.update(samples.ends)
        return names.hexdigest()

    def warn_of_other_names(self) -> None:
        """Warn if a resumed run has other files than before, or the same in another order."""
        before = (self.saved or {}).get('dataset_paths')
        if before is not None and before != self.dataset_names:
            warn(
                f'Resumed at iteration {self._iter}: the files of the training data have other '
                'names than before, or another order. The rest of this epoch repeats some and '
                'leaves out others; restore the data, or start anew from these weights with '
                'load_from and resume=False'
            )

    def load_state_dict(self, state: dict) -> None:
        self.saved = dict(state)

    def batch_indices(self, start: tuple[int, int] | None = None) -> list[int]:
        """Return this process's samples of the batch that began at ``start``; None: now."""
        epoch, offset = start or self.batch_start
        return self.sampler.indices_of(epoch, offset, self.dataloader.batch_size)

    def resume(self) -> None:
        """Go on where the checkpoint was made, if there is one; ``tell_changes`` may refuse."""
        self.sampler.seed = self.seed
        self.offset = self.saved['offset'] if self.saved else self.counted_offset
        if changes := self.changes():
            self.tell_changes(', and '.join(changes))
        self.warn_of_other_names()
        self.saved = None

    def run_iter(self, *args) -> None:
        differs = self.runner._randomness_cfg.get('diff_rank_seed', False)
        _seed_all(self.seed, TRAINING, self._iter, get_rank() if differs else 0)
        super().run_iter(*args)

    def validate_if_due(self) -> None:
        self._decide_current_val_interval()
        done, end = self.progress
        is_due = done >= self.val_begin and (done % self.val_interval == 0 or done == end)
        if self.runner.val_loop is None or not is_due:
            return
        seed_validation(self.runner)
        # As after the step before, also where the run was resumed in between.
        self.runner.message_hub.update_info('iter', self._iter - 1)
        self.runner.val_loop.run()

    def batches(self) -> Iterator[Any]:
        """Yield the batches from now on, and count their samples as done.

        Errors go to hooks with ``data_failed``, which may set ``starts_again``.

        Raises:
            DataWorkerError: A worker has died or hangs.
        """
        self.start_sampler()
        iterator = iter(self.dataloader)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except Exception as error:
                self.starts_again = False
                self.runner.call_hook('data_failed', error=error)
                if self.starts_again:
                    self.dataloader._iterator = None  # persistent workers, too, are made anew
                    self.start_sampler()
                    iterator = iter(self.dataloader)
                    continue
                indices = self.batch_indices(self.place)
                files = [file_of(self.runner, i) or f'sample {i}' for i in indices]
                if words := why_worker_failed(error, iterator, files):
                    raise DataWorkerError(words) from error
                raise
            self.batch_start = self.place
            self.offset += self.samples_per_iter
            yield batch

    def changes(self) -> list[str]:
        """Return in words what differs from the run that wrote the checkpoint."""
        saved = self.saved or {}
        words = dict(
            samples_per_iter='train_dataloader.batch_size times processes',
            dataset_size='the size of the training data',
        )
        now = self.state_dict()
        return [
            f'{words[key]} was {saved[key]} and is {now[key]}'
            for key in words
            if saved.get(key, now[key]) != now[key]
        ]


def _last_two(path: str) -> int:
    """Return where the name of a file begins, with its folder."""
    return path.rfind('/', 0, max(path.rfind('/'), 0)) + 1


def _with_seeded_samples(dataloader: dict | DataLoader) -> dict | DataLoader:
    if not isinstance(dataloader, dict):
        return dataloader
    config = dict(dataloader)
    config['dataset'] = dict(type='beit_mm.SeededDataset', dataset=config['dataset'])
    config.setdefault('worker_init_fn', dict(type='beit_mm.ignore_interrupt'))
    if not config.get('num_workers'):
        config.pop('timeout', None)  # PyTorch refuses these without workers
        config.pop('persistent_workers', None)
        config.pop('prefetch_factor', None)
    return config


def seed_validation(runner: Runner) -> None:
    """Seed a validation or test: each draws the same random numbers, for masks for example."""
    _seed_all(_seed_of(runner), VALIDATION)


def _seed_of(runner: Runner) -> int:
    differs = runner._randomness_cfg.get('diff_rank_seed', False)
    return runner.seed - (get_rank() if differs else 0)


def _seed_all(*numbers: int) -> None:
    """Seed Python, numpy and torch on every device in use from a hash of ``numbers``."""
    words = np.random.SeedSequence(numbers).generate_state(4)
    seed = (int(words[0]) << 32) | int(words[1])
    random.seed(seed)
    np.random.seed(words[2:])
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
