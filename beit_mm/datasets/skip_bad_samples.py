import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import print_log
from mmengine.registry import DATASETS as ALL_DATASETS
from torch.utils.data import Dataset

from beit_mm.registry import DATASETS

FILE_NAME = 'bad_samples.jsonl'


class TooManyBadSamplesError(RuntimeError):
    """More samples fail than SkipBadSamples is allowed to leave out."""


@DATASETS.register_module()
class SkipBadSamples(Dataset):
    """Any training set; another sample takes the place of one that cannot be loaded.

    Which one is a function of the sample's seed and index (SeededDataset sets the seed; otherwise
    it is that of the worker), so a resumed run sees the same samples. A sample is bad when its
    pipeline raises an error or returns None. The first time, each process names it in the log and
    in ``bad_samples.jsonl`` of the work dir, if DatasetCheckHook is among the hooks.

    All workers of a process count together, and what other processes of the run have written to
    ``bad_samples.jsonl`` counts as well. Only different samples count: a broken file is one, in
    however many epochs. For training alone; DatasetCheckHook refuses it in an evaluation.

    Args:
        dataset: A data set or its config, which is built in the current default scope.
        max_count: The training stops when more than this many samples are bad,
        max_share: or more than this share of the data set. None: no such limit; one is needed.
        max_tries: How many others are tried in one place, when they are bad too.

    Raises:
        TooManyBadSamplesError: Above a limit; the message names the last file and its error.
    """

    def __init__(
        self,
        dataset: dict | Dataset,
        max_count: int | None = 100,
        max_share: float | None = 0.01,
        max_tries: int = 10,
    ):
        if max_count is None and max_share is None:
            raise ValueError(
                'SkipBadSamples.max_count and max_share are both None; set one of them, so that '
                'the training stops when the data set is not there at all'
            )
        self.dataset = ALL_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.max_count, self.max_share, self.max_tries = max_count, max_share, max_tries
        for leaf in _leaves(self.dataset):
            if getattr(leaf, 'test_mode', False):
                raise ValueError(
                    f'SkipBadSamples around {type(leaf).__name__} with test_mode=True; an '
                    'evaluation needs every sample, take the data set without SkipBadSamples'
                )
            leaf.max_refetch = 0  # MMEngine's own way: any other sample, at random and unseen
        if hasattr(self.dataset, 'full_init'):
            self.dataset.full_init()
        # How often each sample was bad: one memory for all workers.
        self.counts = torch.zeros(len(self.dataset), dtype=torch.int32).share_memory_()
        self.file: str | None = None
        self.run: str | None = None

    def record_to(self, folder: str | Path, run: str) -> None:
        """Write bad samples to a file in ``folder``; before the workers start."""
        self.file, self.run = str(Path(folder) / FILE_NAME), run

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        index = int(index)
        # What SeededDataset has set for this sample; asking draws nothing, so nothing changes for
        # samples that are not bad.
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
        """The sample that is taken for ``index``, another one."""
        if len(self) == 1:
            return index
        words = np.random.SeedSequence([seed, index, attempt]).generate_state(1, np.uint64)
        return (index + 1 + int(words[0]) % (len(self) - 1)) % len(self)

    def _count(self, index: int, error: Exception) -> None:
        self.counts[index] += 1
        if self.counts[index] > 1:
            return
        name, cause = self._name(index), f'{type(error).__name__}: {error}'
        if self.file is not None:
            entry = dict(run=self.run, rank=get_rank(), index=index, file=name, error=cause)
            with open(self.file, 'a', encoding='utf-8') as file:
                file.write(json.dumps(entry) + '\n')
        bad = self.bad_samples()
        print_log(
            f'sample {index} is left out, another takes its place ({len(bad)} bad of {len(self)}): '
            f'{name}: {cause}',
            logger='current',
            level=logging.WARNING,
        )
        for key, limit, value in (
            ('max_count', self.max_count, len(bad)),
            ('max_share', self.max_share, len(bad) / len(self)),
        ):
            if limit is not None and value > limit:
                raise TooManyBadSamplesError(
                    f'{len(bad)} of {len(self)} samples are bad, more than SkipBadSamples.{key}='
                    f'{limit} allows; the last one: {name}: {cause}. They are named in '
                    f'{self.file or "the log"}; repair or remove them (tools/check_dataset.py '
                    f'finds them all), or raise {key}'
                )

    def bad_samples(self) -> set[int]:
        """Indices of all that were bad, in the other processes of this run too."""
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

    def _name(self, index: int) -> str:
        info = getattr(self.dataset, 'get_data_info', None)
        info = info(index) if info else {}
        return info.get('img_path') or f'sample {index}'

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _leaves(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets inside of others (ConcatDataset, RepeatDataset, ...)."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
    for part in inner:
        if part is not None:
            yield from _leaves(part)
