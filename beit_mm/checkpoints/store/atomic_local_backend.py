import os
from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

CHUNK = 1 << 24  # bytes a write


class AtomicLocalBackend(LocalBackend):
    """Local files that are whole or not there, whatever happens while they are written.

    Chosen by ``backend_args=dict(backend='atomic_local')``.

    Args:
        writer: A name in ``writers`` of what takes the writing function and its arguments, for
            example the ``submit`` of an executor; they are called at once otherwise. It is a name
            since MMEngine turns these arguments into JSON.
    """

    writers: dict[str, Callable] = {}

    def __init__(self, writer: str | None = None):
        self.writer = writer

    def put(self, obj: bytes, filepath: str | Path) -> None:
        self._write(filepath, obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        self._write(filepath, obj.encode(encoding))

    def _write(self, filepath: str | Path, content: bytes) -> None:
        if self.writer is None:
            write_atomically(filepath, content)
        else:
            self.writers[self.writer](write_atomically, filepath, content)


register_backend('atomic_local', AtomicLocalBackend, force=True)


def write_atomically(path: str | Path, content: bytes) -> None:
    """Into a temporary file beside ``path``, to the disk, and only then under its name."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view[:CHUNK]) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk gets its room back
        raise
    _sync_folder(path.parent)


def sweep(folder: str | Path) -> list[str]:
    """Remove what killed writers left in ``folder``; their names."""
    left = sorted(path for path in Path(folder).glob('.*.*.tmp') if path.is_file())
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def _sync_folder(folder: Path) -> None:
    """Makes the new name last as well; systems without folders as files need no such thing."""
    if os.name != 'posix':
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
