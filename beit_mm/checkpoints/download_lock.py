"""One download to a folder at a time, and nothing left of those that were killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mmengine.logging import print_log

from beit_mm.checkpoints.store.atomic_file import sweep


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from downloading to ``folder``, once those that do have ended.

    Removes what downloads that were killed have left, there and beside it. Does nothing where the
    file system has no locks.
    """
    for left in {path.parent for path in folder.parent.glob('*/.*.*.tmp')}:
        with _locked(left, wait=False) as is_alone:
            if is_alone:
                sweep(left)
    with _locked(folder, wait=True):
        yield


@contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[bool]:
    """Hold the lock of a folder, and yield whether it is held.

    It is not where the file system has no locks, or another process has it and ``wait`` is False.
    """
    lock = FileLock(folder.with_suffix('.lock'), timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        if wait:
            print_log(f'Another process downloads to {folder}; waiting for it', logger='current')
            lock.acquire(timeout=-1)
    except (OSError, NotImplementedError):
        pass
    try:
        yield lock.is_locked
    finally:
        lock.release()
