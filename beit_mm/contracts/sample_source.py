"""What data sets and transforms say of themselves, and the walk through wrapped data sets."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import DATASETS
from torch.utils.data import Dataset


class SampleSource(Dataset):
    """Base of the data sets here; those of other libraries have the defaults.

    Attributes:
        replaces_samples: Another sample takes the place of one that cannot be loaded. Such a data
            set is refused in an evaluation, which needs every sample.
        names_errors: Its errors name the image already.
        reads_epoch: ``__getitem__`` takes a ``SeededIndex`` with its epoch, not a plain index.
    """

    replaces_samples = False
    names_errors = False
    reads_epoch = False

    def record_to(self, folder: str, run: str) -> None:
        """Write what is worth keeping of a run into ``folder``; called before the workers start."""


class WrappedSource(SampleSource):
    """A data set around another one, ``self.dataset``, of which everything else is asked.

    Args:
        dataset: A data set or its config, which is built in the current default scope.
    """

    def __init__(self, dataset: dict | Dataset):
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == 'dataset':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitems__(self, indices: Sequence) -> list:
        """Return samples one by one: a Subset's own would pass by what the wrapper does."""
        return [self[index] for index in indices]


class FileReader:
    """Mixin of transforms whose errors are about the file that they read."""


def class_names(dataset) -> list[str] | tuple[str, ...] | None:
    """Return the names of the classes of a data set of any library, where it has a list of them."""
    info = getattr(dataset, 'metainfo', None)
    names = info.get('classes') if isinstance(info, Mapping) else None
    are_words = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    return names if are_words else None


def inner_datasets(dataset) -> list:
    """Return the data sets that ``dataset`` wraps, of a wrapper of any library."""
    one, several = (vars(dataset).get(name) for name in ('dataset', 'datasets'))
    if isinstance(several, Mapping):
        several = several.values()
    parts = [*(several if isinstance(several, Iterable) else ()), one]
    return [part for part in parts if {'__getitem__', '__dict__'} <= {*dir(part)}]


def walk_datasets(dataset) -> Iterator:
    """Yield ``dataset`` and all data sets inside it, outermost first."""
    yield dataset
    for part in inner_datasets(dataset):
        yield from walk_datasets(part)


def leaf_datasets(dataset) -> Iterator:
    """Yield the data sets inside ``dataset`` that wrap no other."""
    return (part for part in walk_datasets(dataset) if not inner_datasets(part))
