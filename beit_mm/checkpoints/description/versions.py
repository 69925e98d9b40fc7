"""Which code ran: versions of the packages, and the commit of this one."""

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import beit_mm

# The name of an import, and the distributions that bring it.
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
    """Of Python, this package and those it works with, as far as they are installed."""
    found = dict(Python=platform.python_version(), beit_mm=beit_mm.__version__)
    for name, distributions in PACKAGES.items():
        for distribution in distributions:
            try:
                found[name] = version(distribution)
                break
            except PackageNotFoundError:
                continue
    return found


@cache
def code_state() -> dict[str, str | bool | None] | None:
    """``commit`` of the checkout that the package is in, and whether files are ``changed`` from it.

    As they were when this was first asked; ``changed`` is None where git doesn't say. None as a
    whole: the package is installed without its history.
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
