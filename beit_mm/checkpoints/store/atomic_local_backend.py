from collections.abc import Callable
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from beit_mm.checkpoints.store.atomic_file import write_atomically


class AtomicLocalBackend(LocalBackend):
    """Local files that are whole or not there, whatever happens while they are written.

    It is chosen by ``backend_args=dict(backend='atomic_local', writer=...)``.

    Args:
        writer: Name in ``writers`` of what calls the writing function, such as the ``submit`` of a
            SaveQueue. It is a name since MMEngine turns these arguments into JSON.
    """

    writers: dict[str, Callable] = {}

    def __init__(self, writer: str):
        self.writer = writer

    def put(self, obj: bytes, filepath: str | Path) -> None:
        self.writers[self.writer](write_atomically, filepath, obj)


register_backend('atomic_local', AtomicLocalBackend, force=True)
