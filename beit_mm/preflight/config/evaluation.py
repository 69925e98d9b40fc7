"""Data sets of an evaluation that don't evaluate every sample."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import DATASETS

from beit_mm.preflight.config.finding import Finding
from beit_mm.preflight.config.names import find_class


def check_evaluation(config: Config) -> Iterator[Finding]:
    """A wrapper that puts other samples in the place of bad ones, around validation or test."""
    scope = config.get('default_scope') or 'mmengine'
    for name in ('val_dataloader', 'test_dataloader'):
        loader = config.get(name)
        if isinstance(loader, Mapping):
            yield from _walk(loader.get('dataset'), f'{name}.dataset', scope)


def _walk(dataset, key: str, scope: str) -> Iterator[Finding]:
    if not isinstance(dataset, Mapping):
        return
    scope = dataset.get('_scope_', scope)
    cls = find_class(DATASETS, dataset.get('type'), scope)
    if hasattr(cls, 'substitute'):  # as DatasetCheckHook knows them
        yield Finding(
            'error',
            f'{key}.type',
            f'{cls.__name__} puts other samples in the place of bad ones, but an evaluation needs '
            'every sample; take the data set without it, and repair what tools/check_dataset.py '
            'finds',
        )
    yield from _walk(dataset.get('dataset'), f'{key}.dataset', scope)
    inner = dataset.get('datasets')
    for number, part in enumerate(inner if isinstance(inner, list | tuple) else []):
        yield from _walk(part, f'{key}.datasets.{number}', scope)
