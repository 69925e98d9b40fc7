import random

import numpy as np
import torch


class SeededIndex(int):
    """The index of a sample and the seed of its augmentation; to others it is the plain index.

    Args:
        seed: In [0, 2**64).
        epoch: Told by some samplers, for data sets that have something else in each epoch.
    """

    def __new__(cls, index: int, seed: int, epoch: int | None = None):
        self = super().__new__(cls, index)
        self.seed = seed
        self.epoch = epoch
        return self

    def __reduce__(self):
        return SeededIndex, (int(self), self.seed, self.epoch)

    def seed_generators(self) -> None:
        """Seed the generators of Python, NumPy and torch (on the CPU) for this sample."""
        random.seed(self.seed)
        # Python and NumPy have the same generator: with the same key they would draw the same.
        np.random.seed([self.seed & 0xFFFFFFFF, self.seed >> 32, 1])
        # torch.manual_seed would seed the GPUs as well, from within a worker.
        torch.default_generator.manual_seed(self.seed)
