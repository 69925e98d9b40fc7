"""The code that runs: versions of the packages, and the commit of this one."""

import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import beit_mm

# The name of an import: the distributions that provide it.
PACKAGES = dict(
    torch=('torch',),
    numpy=('numpy',),
    mmengine=('onedl-mmengine', 'mmengine'),
    mmcv=('onedl-mmcv', 'mmcv'),
    mmpretrain=('onedl-mmpretrain', 'mmpretrain'),
    mmseg=('onedl-mmsegmentation', 'mmsegmentation'),
)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the installed ones that it works with."""
    found = dict(Python=platform.python_version(), beit_mm=beit_mm.__version__)
    for name, distributions in PACKAGES.items():
        for distribution in reversed(distributions):  # the first one that is installed counts
            with suppress(PackageNotFoundError):
                found[name] = version(distribution)
    return found


@cache
def code_state() -> dict[str, str | bool | None] | None:
    """Return the ``commit`` of the package's checkout, and whether files are ``changed`` from it.

    Both are as they were at the first call. ``changed`` is None where git does not say. Return None
    if the package is installed without its history.
    """
    commit = _git('rev-parse', 'HEAD')
    if not commit or _git('ls-files', '__init__.py') != '__init__.py':
        return None
    changed = _git('status', '--porcelain', '--untracked-files=no', '--', '.')
    return dict(commit=commit, changed=None if changed is None else bool(changed))


def package_folder() -> Path:
    return Path(beit_mm.__file__).resolve().parent


def _git(*words: str) -> str | None:
    command = ['git', '-C', str(package_folder()), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
