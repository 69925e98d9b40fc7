"""MMEngine's own entry for checkpoints, with safe reading behind it.

``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')`` and inferencers all ask
``CheckpointLoader``. :func:`register_loaders` gives it our functions for every scheme that it
knows, in place of those that fall back to running a pickle.
"""

from collections.abc import Callable
from typing import Any

PREFIXES = {  # of what each function of beit_mm.checkpoints.loaders loads
    'load_from_local': '',
    'load_from_http': ('http://', 'https://'),
    'load_from_torchvision': ('modelzoo://', 'torchvision://'),
    'load_from_openmmlab': ('open-mmlab://', 'openmmlab://'),
    'load_from_mmcls': 'mmcls://',
    'refuse': [r'(\S+\:)?s3://', r'(\S+\:)?petrel://', 'pavi://'],
}


def register_loaders() -> None:
    """Put safe reading behind every scheme of MMEngine's ``CheckpointLoader``."""
    from mmengine.runner.checkpoint import CheckpointLoader

    for name, prefixes in PREFIXES.items():
        CheckpointLoader.register_scheme(prefixes, _loader(name), force=True)
    load = CheckpointLoader.load_checkpoint

    def load_checkpoint(filename: str, map_location=None, logger: Any = 'current') -> Any:
        return load(filename, map_location, logger or 'current')  # for None it would print

    CheckpointLoader.load_checkpoint = staticmethod(load_checkpoint)


def _loader(name: str) -> Callable:
    """Return a function that imports the loader ``name`` when it is called."""

    def load(filename: str, map_location: str | Callable | None = None) -> Any:
        from beit_mm.checkpoints import loaders

        return vars(loaders)[name](filename, map_location)

    load.__name__ = name  # MMEngine logs it
    load.__module__ = 'beit_mm.checkpoints.loaders'
    return load
