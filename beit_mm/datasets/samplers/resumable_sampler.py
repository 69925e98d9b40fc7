from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from beit_mm.contracts import UserError
from beit_mm.datasets.samplers.seeded_index import SeededIndex
from beit_mm.registry import DATA_SAMPLERS

CHUNK = 4096  # samples whose numbers are made at once


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """Samples whose order and seeds depend on (seed, epoch, place in the epoch) alone.

    Each epoch is another permutation, which can begin at any place without running through those
    before it. The number of workers does not matter. Processes share the places in turn, so a
    batch is the same set of samples for one process and for several.

    Args:
        seed: The loops set it to the runner's, which may come from a checkpoint.

    Raises:
        UserError: The data set is empty.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None):
        self.size = len(dataset)
        if self.size == 0:
            raise UserError(
                'train_dataloader.dataset is empty; check its data_root, ann_file and data_prefix'
            )
        self.rank, self.world_size = get_dist_info()
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.per_rank = -(-self.size // self.world_size)
        self.start()

    def start(self, epoch: int = 0, offset: int = 0, endless: bool = False) -> None:
        """Set where the next iteration begins.

        Args:
            offset: Samples of ``epoch`` that all processes together have done.
            endless: Run through the epochs without a break. Otherwise an iteration is what is
                left of one epoch.
        """
        self.epoch, self.offset, self.endless = epoch, offset, endless

    def set_epoch(self, epoch: int) -> None:
        if not self.endless:
            self.start(epoch)

    def __len__(self) -> int:
        """Return the samples of one process in a whole epoch."""
        return self.per_rank

    def __iter__(self) -> Iterator[SeededIndex]:
        epoch, place = self.epoch, self.offset + self.rank
        end = self.size if self.endless else self.per_rank * self.world_size
        while True:
            epoch, place = epoch + place // end, place % end if self.endless else place
            order = self.order(epoch)
            while place < end:
                stop = min(end, place + CHUNK * self.world_size)
                places = np.arange(place, stop, self.world_size)
                seeds = self.seeds(epoch, places).tolist()
                indices = order[places % self.size].tolist()
                for index, seed in zip(indices, seeds, strict=True):
                    yield SeededIndex(index, seed, epoch)
                place += self.world_size * len(places)
            if not self.endless:
                return
            epoch, place = epoch + 1, place - end

    def order(self, epoch: int) -> np.ndarray:
        """Return the indices (size,) in the order of ``epoch``."""
        if not self.shuffle:
            return np.arange(self.size)
        generator = torch.Generator()
        generator.manual_seed(_mix(self.seed, epoch, stream=0))
        return torch.randperm(self.size, generator=generator).numpy()

    def seeds(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Return a seed of 64 bits for each place in ``epoch`` (the finalizer of SplitMix64)."""
        golden, first, second = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
        state = places.astype(np.uint64) * np.uint64(golden) + np.uint64(
            _mix(self.seed, epoch, stream=1)
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(first)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(second)
        return state ^ (state >> np.uint64(31))

    def indices_of(self, epoch: int, offset: int, count: int) -> list[int]:
        """Return this process's ``count`` samples after ``offset`` of ``epoch``, for messages."""
        places = offset + self.rank + self.world_size * np.arange(count)
        if self.endless:
            epochs, places = epoch + places // self.size, places % self.size
        else:
            places = places[places < self.per_rank * self.world_size]
            epochs = np.full(len(places), epoch)
        orders = {number: self.order(number) for number in set(epochs.tolist())}
        pairs = zip(epochs.tolist(), places.tolist(), strict=True)
        return [int(orders[number][place % self.size]) for number, place in pairs]


def _mix(seed: int, epoch: int, stream: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0])
