from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from beit_mm.checkpoints.store.atomic_file import write_atomically


class AtomicLocalBackend(LocalBackend):
    """Local files that are whole or not there, whatever happens while they are written.

    It is chosen by ``backend_args=dict(backend='atomic_local')``.

    Args:
        writer: Name in ``writers`` of what calls the writing function, for example the ``submit``
            of an executor. None calls it at once. It is a name since MMEngine turns these
            arguments into JSON.
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
