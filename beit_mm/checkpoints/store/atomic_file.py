"""Files that are whole or not there, whatever interrupts their writing."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 24  # bytes per write


@contextmanager
def open_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new file for writing that appears as ``path`` when it is whole and on the disk.

    It is a temporary file beside ``path`` until the ``with`` block ends (``file.name`` for writers
    that take a name); an error in the block removes it, and leaves what was at ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk gets its room back
        raise
    _sync_folder(path.parent)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    with open_atomically(path) as file:
        for start in range(0, len(content), CHUNK):
            file.write(memoryview(content)[start : start + CHUNK])


def sweep(folder: str | Path) -> list[str]:
    """Remove what killed writers left in ``folder``, and return the names."""
    left = sorted(path for path in Path(folder).glob('.*.*.tmp') if path.is_file())
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def _sync_folder(folder: Path) -> None:
    """Make the new name last as well, on systems where folders are files."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
