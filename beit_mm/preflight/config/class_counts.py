"""Whether a data set names more classes than the head has."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config
from mmengine.registry import DATASETS

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    DatasetConfig,
    class_name,
    hook_configs,
    leaf_dataset_configs,
)
from beit_mm.preflight.config.classes import find_class
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.labels import WITH_NONE

UNKNOWN = ('VigClsHead', 'CSRAClsHead')  # they do not keep their number of classes
GUARD = 'DatasetCheckHook'  # stops a training at what is a warning without it


def check_class_counts(config: Config) -> Iterator[Finding]:
    """Yield data sets whose config or class names more classes than ``num_classes`` of the head."""
    for key in ('model.head', 'model.decode_head'):
        head = value_at(config, key)
        number = head.get('num_classes') if isinstance(head, Mapping) else None
        if isinstance(number, int) and class_name(head) not in (*WITH_NONE, *UNKNOWN):
            break
    else:
        return
    is_guarded = any(class_name(hook) == GUARD for _, hook in hook_configs(config))
    level = 'error' if is_guarded else 'warning'
    for part in leaf_dataset_configs(config):
        place, names = _names(part)
        if len(names) > number:
            message = f'{len(names)} classes, but {key}.num_classes={number}; set them equal'
            yield Finding(level, place, message)


def _names(part: DatasetConfig) -> tuple[str, list]:
    """Return the key of the names of classes, and the names; none if they are read from files.

    Data sets differ in which key goes before the other; the shorter one is sure to be meant.
    """
    info = part.config.get('metainfo')
    given = {
        'classes': part.config.get('classes'),
        'metainfo.classes': info.get('classes') if isinstance(info, Mapping) else None,
    }
    given = {key: names for key, names in given.items() if names}
    if not given:
        cls = find_class(DATASETS, part.config.get('type'), part.scope)
        fixed = getattr(cls, 'METAINFO', None)
        given['type'] = fixed.get('classes') if isinstance(fixed, Mapping) else None
    lists = {
        key: [*names] if isinstance(names, list | tuple) else [] for key, names in given.items()
    }
    key = min(lists, key=lambda key: len(lists[key]))
    return f'{part.key}.{key}', lists[key]
