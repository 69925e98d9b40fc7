"""The walk through the data sets and the pipelines of a config."""

from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

DATALOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class DatasetConfig(NamedTuple):
    """The config of a data set.

    Attributes:
        key: Its place in the whole config, as ``--cfg-options`` writes it.
        scope: The registry scope in which it is built.
        config: Type and arguments.
    """

    key: str
    scope: str
    config: Mapping

    def inner(self) -> list['DatasetConfig']:
        """Return the data sets that this one wraps."""
        several = self.config.get('datasets')
        parts = {'dataset': self.config.get('dataset')}
        for number, part in enumerate(several if isinstance(several, list | tuple) else []):
            parts[f'datasets.{number}'] = part
        return [
            DatasetConfig(f'{self.key}.{name}', part.get('_scope_', self.scope), part)
            for name, part in parts.items()
            if isinstance(part, Mapping)
        ]


def walk_dataset_configs(config: Mapping, loaders=DATALOADERS) -> Iterator[DatasetConfig]:
    """Yield the data sets of the dataloaders and all data sets inside them, outermost first."""
    scope = config.get('default_scope') or 'mmengine'
    for name in loaders:
        if isinstance(config.get(name), Mapping):
            yield from _walk_inner(DatasetConfig(name, scope, config[name]))


def leaf_dataset_configs(config: Mapping, loaders=DATALOADERS) -> Iterator[DatasetConfig]:
    """Yield the data sets of the dataloaders that wrap no other."""
    return (part for part in walk_dataset_configs(config, loaders) if not part.inner())


def walk_pipelines(config: Mapping, loaders=DATALOADERS) -> Iterator[tuple[str, list]]:
    """Yield key and transforms of the pipelines of :func:`leaf_dataset_configs`."""
    for part in leaf_dataset_configs(config, loaders):
        if isinstance(part.config.get('pipeline'), list | tuple):
            yield f'{part.key}.pipeline', [*part.config['pipeline']]


def first_pipeline(config: Mapping) -> list:
    """Return the transforms of the first pipeline of a config; empty if it has none."""
    return next((pipeline for _, pipeline in walk_pipelines(config)), [])


def entries(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield key and value of what a config has one or a list of, such as metrics or heads."""
    several = isinstance(value, list | tuple)
    for number, part in enumerate(value if several else [value]):
        yield (f'{key}.{number}' if several else key), part


def hook_configs(config: Mapping) -> Iterator[tuple[str, Any]]:
    """Yield key and config of the hooks, None for those that a config leaves out."""
    for name in ('default_hooks', 'custom_hooks'):
        hooks = config.get(name)
        several = hooks if isinstance(hooks, list | tuple) else ()
        named = hooks.items() if isinstance(hooks, Mapping) else enumerate(several)
        yield from ((f'{name}.{key}', hook) for key, hook in named)


def walk_values(value: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield key and value of everything below ``value``, what is around a value before it."""
    is_list = isinstance(value, list | tuple)
    inner = value.items() if isinstance(value, Mapping) else enumerate(value if is_list else ())
    for name, part in inner:
        place = f'{key}.{name}' if key else str(name)
        yield place, part
        yield from walk_values(part, place)


def steps_of(dataset: Mapping) -> list:
    """Return the pipeline of a data set's config; empty if it has none."""
    steps = dataset.get('pipeline')
    return [*steps] if isinstance(steps, list | tuple) else []


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def class_name(part) -> str:
    """Return the ``type`` of a config without its scope; empty for what is no config."""
    kind = (part.get('type') or '') if isinstance(part, Mapping) else ''
    return kind.__name__ if isinstance(kind, type) else str(kind).split('.')[-1]


def find_transform(pipeline: list, name: str) -> tuple[int, Mapping] | None:
    """Return number and config of the first transform of the class ``name``."""
    found = ((n, step) for n, step in enumerate(pipeline) if class_name(step) == name)
    return next(found, None)


def _walk_inner(outer: DatasetConfig) -> Iterator[DatasetConfig]:
    for part in outer.inner():
        yield part
        yield from _walk_inner(part)
