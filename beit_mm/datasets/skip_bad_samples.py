import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from torch.utils.data import Dataset

from beit_mm.checkpoints.store import append
from beit_mm.contracts import UserError, WrappedSource
from beit_mm.contracts.sample_source import leaf_datasets
from beit_mm.registry import DATASETS

FILE_NAME = 'bad_samples.jsonl'


class TooManyBadSamplesError(UserError, RuntimeError):
    """More samples fail than SkipBadSamples is allowed to leave out."""


@DATASETS.register_module()
class SkipBadSamples(WrappedSource):
    """Any training set; another sample takes the place of one that cannot be loaded.

    A sample is bad when its pipeline raises an error or returns None. Which one takes its place
    is a function of its seed and index, so that a resumed run sees the same samples.
    (SeededDataset sets the seed; otherwise it is that of the worker.) Each process names a bad
    sample once in the log and, with DatasetCheckHook, in ``bad_samples.jsonl`` of the work dir.

    All workers of a process count together. What other processes of the run have written to
    ``bad_samples.jsonl`` counts as well. Only different samples count: a broken file is one, in
    however many epochs.

    Args:
        dataset: A data set or its config, which is built in the current default scope.
        max_count: The training stops when more than this many samples are bad; None is no limit.
        max_share: The same as a part of the data set. One of the two limits is needed.
        max_tries: How many others are tried in one place, when they are bad too.

    Raises:
        TooManyBadSamplesError: Above a limit; the message names the last file and its error.
        UserError: No limit is given, or a data set is one of an evaluation.
    """

    replaces_samples = True

    def __init__(
        self,
        dataset: dict | Dataset,
        max_count: int | None = 100,
        max_share: float | None = 0.01,
        max_tries: int = 10,
    ):
        if max_count is None and max_share is None:
            raise UserError(
                'SkipBadSamples.max_count and max_share are both None; set one of them, so that '
                'the training stops when the data set is not there at all'
            )
        super().__init__(dataset)
        self.max_count, self.max_share, self.max_tries = max_count, max_share, max_tries
        for leaf in leaf_datasets(self.dataset):
            if getattr(leaf, 'test_mode', False):  # of any library
                raise UserError(
                    f'SkipBadSamples around {type(leaf).__name__} with test_mode=True; an '
                    'evaluation needs every sample, take the data set without SkipBadSamples'
                )
            leaf.max_refetch = 0  # MMEngine would take any other sample, at random and unseen
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        self.counts = torch.zeros(len(self.dataset), dtype=torch.int32).share_memory_()
        self.file: str | None = None
        self.run: str | None = None

    def record_to(self, folder: str | Path, run: str) -> None:
        """Write bad samples to a file in ``folder``; called before the workers start."""
        self.file, self.run = str(Path(folder) / FILE_NAME), run

    def __getitem__(self, index: int) -> Any:
        index = int(index)
        # Set by SeededDataset for this sample. Asking draws nothing, so that samples that are not
        # bad stay as they are.
        seed = torch.default_generator.initial_seed()
        current, error = index, None
        for attempt in range(self.max_tries + 1):
            try:
                data = self.dataset[current]
                if data is None:
                    raise ValueError('the pipeline returned None')
                return data
            except MemoryError:
                raise
            except Exception as caught:
                error = caught
            self._count(current, error)
            current = self.substitute(seed, index, attempt)
        raise TooManyBadSamplesError(
            f'{self._name(index)} and {self.max_tries} others tried in its place are bad; the last '
            f'one: {self._name(current)}: {error}. Check the data with tools/check_dataset.py'
        )

    def substitute(self, seed: int, index: int, attempt: int) -> int:
        """Return the index of the sample that is taken for ``index``, another one."""
        if len(self) == 1:
            return index
        words = np.random.SeedSequence([seed, index, attempt]).generate_state(1, np.uint64)
        return (index + 1 + int(words[0]) % (len(self) - 1)) % len(self)

    def bad_samples(self) -> set[int]:
        """Return the indices of all bad samples, those of other processes of this run too."""
        counts = self.counts.clone()  # nonzero fails where another worker counts meanwhile
        found = set(counts.nonzero().flatten().tolist())
        if self.file is not None and Path(self.file).is_file():
            for line in Path(self.file).read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # cut off: a process was killed, or the disk was full
                if entry['run'] == self.run:
                    found.add(entry['index'])
        return found

    def _count(self, index: int, error: Exception) -> None:
        """Count and report a bad sample; raise TooManyBadSamplesError above a limit."""
        self.counts[index] += 1
        if self.counts[index] > 1:
            return
        name, cause = self._name(index), f'{type(error).__name__}: {error}'
        if self.file is not None:
            entry = dict(run=self.run, rank=get_rank(), index=index, file=name, error=cause)
            append(self.file, (json.dumps(entry) + '\n').encode())
        bad = len(self.bad_samples())
        print_log(
            f'sample {index} is left out, another takes its place ({bad} bad of {len(self)}): '
            f'{name}: {cause}',
            logger='current',
            level=logging.WARNING,
        )
        for key, limit, value in (
            ('max_count', self.max_count, bad),
            ('max_share', self.max_share, bad / len(self)),
        ):
            if limit is not None and value > limit:
                raise TooManyBadSamplesError(
                    f'{bad} of {len(self)} samples are bad, more than SkipBadSamples.{key}='
                    f'{limit} allows; the last one: {name}: {cause}. They are named in '
                    f'{self.file or "the log"}; repair or remove them (tools/check_dataset.py '
                    f'finds them all), or raise {key}'
                )

    def _name(self, index: int) -> str:
        info = getattr(self.dataset, 'get_data_info', None)  # MMEngine's data sets have it
        info = info(index) if info else {}
        return info.get('img_path') or f'sample {index}'
