"""Configs by name: ``_base_ = 'beit_mm::pretrain/...'``, ``mmengine.hub`` and mim."""

import os
from contextlib import suppress
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
SHARED = ('configs', 'tools', 'model-index.yml')


def register_configs() -> None:
    """Make the configs known to MMEngine, which finds those of other packages by a list of its own.

    They name the scopes of their parts. MMEngine would put all parts of a named base into the scope
    of its package, where the data sets and heads of mmpretrain and mmseg are not found.
    """
    from mmengine.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    if 'beit_mm' in MODULE2PACKAGE:
        return
    MODULE2PACKAGE['beit_mm'] = 'beit_mm'
    find = Config._get_cfg_path

    def find_without_scope(cfg_path: str, filename: str) -> tuple[str, str | None]:
        path, scope = find(cfg_path, filename)
        return path, None if scope == 'beit_mm' else scope

    Config._get_cfg_path = staticmethod(find_without_scope)


def link_checkout(package: Path) -> None:
    """Link configs and tools of a checkout to where MMEngine and mim look, ``.mim`` of the package.

    A wheel has them there. Where links cannot be made, configs are found by their paths alone.
    """
    root, target = package.parent, package / '.mim'
    if not all((root / name).exists() for name in ('setup.py', *SHARED)):
        return
    for name in SHARED:
        if not (target / name).exists():
            with suppress(OSError):  # read-only, no links, or another process was faster
                target.mkdir(exist_ok=True)
                (target / name).symlink_to(os.path.join('..', '..', name))
