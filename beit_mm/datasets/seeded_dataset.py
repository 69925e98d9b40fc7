from typing import Any

from beit_mm.contracts import SampleSource, WrappedSource
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.registry import DATASETS


@DATASETS.register_module()
class SeededDataset(WrappedSource):
    """Any data set, with the random number generators seeded by the index for each sample.

    With ResumableSampler the augmentation of a sample depends on its place in the training alone,
    not on the worker that makes it, nor on what that worker made before. The training loops put
    it around the data set of the config. Plain indices pass without seeding.

    Args:
        dataset: A data set or its config, which is built in the current default scope.
    """

    def __getitem__(self, index: int) -> Any:
        if isinstance(index, SeededIndex):
            index.seed_generators()
        reads_epoch = isinstance(self.dataset, SampleSource) and self.dataset.reads_epoch
        return self.dataset[index if reads_epoch else int(index)]
