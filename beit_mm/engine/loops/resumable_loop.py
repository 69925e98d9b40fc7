import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.utils.data import DataLoader

TRAINING, VALIDATION = 0, 1  # two streams of random numbers


class ResumableLoop:
    """What both training loops need to go on bit-identically from any update; mixed in first.

    Random numbers are functions of counters, not of history: each training step seeds the
    process by (seed, iteration), each sample by its place (ResumableSampler, SeededDataset), each
    validation by the seed. So no state of a generator has to be saved, by any process, and a
    resumed run needs nothing of what ran before it. ``randomness.diff_rank_seed=True`` gives
    each process its own numbers in a step.
    """

    def __init__(self, runner, dataloader: dict | DataLoader, *args, **kwargs):
        super().__init__(runner, _with_seeded_samples(dataloader), *args, **kwargs)
        self.sampler = getattr(self.dataloader, 'sampler', None)
        if self.dataloader.batch_size is None or not hasattr(self.sampler, 'indices_of'):
            raise ValueError(
                f'train_cfg.type={type(self).__name__} needs train_dataloader.sampler=dict('
                f"type='beit_mm.ResumableSampler', shuffle=True) and no batch_sampler, got "
                f'{type(self.sampler).__name__}; change the sampler, or take the loop of the '
                'same kind from mmengine and do without exact resume'
            )
        self.saved: dict | None = None

    @property
    def samples_per_iter(self) -> int:
        """Of all processes together."""
        return self.dataloader.batch_size * get_world_size()

    @property
    def seed(self) -> int:
        """The runner's, which a checkpoint may have restored after the loop was built."""
        return _seed_of(self.runner)

    def state_dict(self) -> dict:
        """For the checkpoint: where the next batch begins."""
        return dict(
            loop=type(self).__name__,
            offset=self.offset,
            samples_per_iter=self.samples_per_iter,
            dataset_size=self.sampler.size,
        )

    def load_state_dict(self, state: dict) -> None:
        self.saved = dict(state)

    def batch_indices(self, start: tuple[int, int] | None = None) -> list[int]:
        """This process's samples of the batch that began at ``start``: the current one."""
        epoch, offset = start or self.batch_start
        return self.sampler.indices_of(epoch, offset, self.dataloader.batch_size)

    def seed_step(self) -> None:
        differs = self.runner._randomness_cfg.get('diff_rank_seed', False)
        _seed_all(self.seed, TRAINING, self._iter, get_rank() if differs else 0)

    def validate(self) -> None:
        seed_validation(self.runner)
        # as after the step before, also where the run was resumed in between
        self.runner.message_hub.update_info('iter', self._iter - 1)
        self.runner.val_loop.run()

    def batches(self) -> Iterator[Any]:
        """From where the sampler starts; hooks hear of data that failed (``data_failed``)."""
        iterator = iter(self.dataloader)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                self.runner.call_hook('data_failed', error=error)
                raise
            yield batch

    def changes(self) -> list[str]:
        """What differs from the run that wrote the checkpoint, in words."""
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

    def warn(self, message: str) -> None:
        print_log(message, logger='current', level=logging.WARNING)


def _with_seeded_samples(dataloader: dict | DataLoader) -> dict | DataLoader:
    if not isinstance(dataloader, dict):
        return dataloader
    config = dict(dataloader)
    config['dataset'] = dict(type='beit_mm.SeededDataset', dataset=config['dataset'])
    config.setdefault('worker_init_fn', dict(type='beit_mm.ignore_interrupt'))
    if not config.get('num_workers'):
        config.pop('timeout', None)  # PyTorch refuses it where there is no worker to wait for
        config.pop('persistent_workers', None)
        config.pop('prefetch_factor', None)
    return config


def seed_validation(runner: Runner) -> None:
    """Each validation draws the same random numbers, masks for example, and so does a test."""
    _seed_all(_seed_of(runner), VALIDATION)


def _seed_of(runner: Runner) -> int:
    differs = runner._randomness_cfg.get('diff_rank_seed', False)
    return runner.seed - (get_rank() if differs else 0)


def _seed_all(*numbers: int) -> None:
    """Python, numpy and torch on every device that is in use, from a hash of ``numbers``."""
    words = np.random.SeedSequence(numbers).generate_state(4)
    seed = (int(words[0]) << 32) | int(words[1])
    random.seed(seed)
    np.random.seed(words[2:])
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
