import random
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS as ALL_DATASETS
from torch.utils.data import Dataset

from beit_mm.preflight.files.some_images import check_some_images
from beit_mm.registry import DATASETS


@DATASETS.register_module()
class SeededDataset(Dataset):
    """Any data set, its random numbers seeded by the index for each sample.

    With ResumableSampler a sample's augmentation depends on its place in the training alone, not
    on the worker that makes it, nor on what that worker made before. The loops put it around the
    data set of the config. Plain indices pass without seeding. Everything else is asked of
    ``dataset`` itself.

    Args:
        dataset: A data set or its config, which is built in the current default scope.
    """

    def __init__(self, dataset: dict | Dataset):
        self.dataset = ALL_DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def check_some(self) -> list[str]:
        """What would train in silence, in a few images of the data set."""
        return [str(finding) for finding in check_some_images(self.dataset)]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed = getattr(index, 'seed', None)
        if seed is not None:
            random.seed(seed)
            # another key than Python's: both are the same generator, and would draw the same
            np.random.seed([seed & 0xFFFFFFFF, seed >> 32, 1])
            # torch.manual_seed would seed the GPUs as well, from within a worker
            torch.default_generator.manual_seed(seed)
        reads_epoch = getattr(self.dataset, 'reads_epoch', False)
        return self.dataset[index if reads_epoch else int(index)]

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)
