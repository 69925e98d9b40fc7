"""Data sets of an evaluation that do not evaluate every sample."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import DATASETS

from beit_mm.contracts import Finding, SampleSource
from beit_mm.contracts.config_walk import walk_dataset_configs
from beit_mm.preflight.config.classes import find_class


def check_evaluation(config: Config) -> Iterator[Finding]:
    """Yield an error for each data set of val or test that replaces samples, wrapped or not."""
    for part in walk_dataset_configs(config, ('val_dataloader', 'test_dataloader')):
        cls = find_class(DATASETS, part.config.get('type'), part.scope)
        if isinstance(cls, type) and issubclass(cls, SampleSource) and cls.replaces_samples:
            yield Finding(
                'error',
                f'{part.key}.type',
                f'{cls.__name__} puts other samples in the place of bad ones, but an evaluation '
                'needs every sample; take the data set without it, and repair what '
                'tools/check_dataset.py finds',
            )
