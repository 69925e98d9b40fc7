"""Files that are whole or not there, whatever interrupts their writing.

A work dir may come from somebody else: nothing is written through a link that is there already.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from beit_mm.contracts import UserError

CHUNK = 1 << 24  # bytes per write


class LinkError(UserError):
    """A file of a run is a link, a pipe or a device, through which nothing is written."""

    def __init__(self, path: str | Path):
        super().__init__(
            f'{path} is a link, a pipe or a device, and writing it would change something else; '
            'remove it, or choose another work_dir'
        )


@contextmanager
def open_atomically(path: str | Path) -> Iterator[BinaryIO]:
    """Open a new file for writing that appears as ``path`` when it is whole and on the disk.

    It is a temporary file beside ``path`` until the ``with`` block ends (``file.name`` for writers
    that take a name); an error in the block removes it, and leaves what was at ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{secrets.token_hex(4)}.tmp')
    try:
        with open(temporary, 'xb') as file:  # a new one, never what a link leads to
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


def append(path: str | Path, content: bytes) -> None:
    """Write all of ``content`` to the end of a file, or nothing.

    Raises:
        LinkError: ``path`` is no file of its own.
    """
    refuse_link(path)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    if os.name == 'posix':  # should a link or pipe have come in between
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags, 0o666), 'ab', buffering=0) as file:
        size = file.tell()
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(size)
            raise


def refuse_link(path: str | Path) -> None:
    """Raise a LinkError if what is at ``path`` leads elsewhere; a folder fails by itself."""
    path = Path(path)
    if path.is_symlink() or (path.exists() and not path.is_file() and not path.is_dir()):
        raise LinkError(path)


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
