"""Data sets and mask loaders of a config that somebody else may have written."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry

from beit_mm.checkpoints.description.architecture import scoped_type
from beit_mm.checkpoints.trust import ADVICE, is_trusted
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import walk_values

SCOPES = (None, 'mmengine', 'mmcv', 'mmpretrain', 'mmseg', 'beit_mm')
# Of these libraries, beside all of this package: they read names and text. Others unpickle files.
HARMLESS = ('CustomDataset', 'BaseSegDataset', 'LoadAnnotations')
RUN = ('.pkl', '.pickle', '.yaml', '.yml')  # what MMEngine's reader of lists runs


def safe_build(registry: Registry, config: Mapping, scope: str | None) -> Any:
    """Build what a config says, if that runs nothing, downloads nothing and waits for nothing.

    Raises:
        UserError: It might; with ``trust_checkpoints`` it is built all the same.
    """
    if is_trusted():
        with registry.switch_scope_and_registry(scope):
            return registry.build(dict(config))
    kind = str(config.get('type'))
    if '.' in kind:  # a whole path, as MMEngine writes the classes of a Python config
        kind = f'{kind.split(".")[0]}.{kind.split(".")[-1]}'
    cls = scoped_type(kind, scope, registry)[1] if scope in SCOPES else None
    bases = cls.__mro__ if isinstance(cls, type) else ()
    if not any(b.__module__.startswith('beit_mm.') or b.__name__ in HARMLESS for b in bases):
        raise UserError(f'{kind!r} may run code or download; {ADVICE}')
    for key, value in walk_values(config):
        if isinstance(value, str):
            _check_text(key, value, str(config.get('data_root') or ''))
    own = {key: value for key, value in config.items() if key not in ('type', '_scope_')}
    with registry.switch_scope_and_registry(scope):
        return registry.build(dict(own, type=cls))


def _check_text(key: str, value: str, root: str) -> None:
    places = [place for place in (value, os.path.join(root, value)) if os.path.exists(place)]
    is_odd = any(not os.path.isfile(place) and not os.path.isdir(place) for place in places)
    if is_odd or '://' in value or value.lower().endswith(RUN):
        raise UserError(f'{key}={value!r} may run code, download or hang; {ADVICE}')
