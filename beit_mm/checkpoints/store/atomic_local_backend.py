from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from beit_mm.checkpoints.store.atomic_file import write_atomically


class SaveQueue:
    """Write to the disk in order, at once or in the background.

    Args:
        background: Writes in a thread; an error is raised by :meth:`wait`.
    """

    def __init__(self, background: bool):
        self._executor = ThreadPoolExecutor(1) if background else None
        self._jobs: list[Future] = []

    @property
    def is_in_background(self) -> bool:
        return self._executor is not None

    def submit(self, function: Callable, *args) -> None:
        """Call ``function``, in the background only if what was submitted before went well."""
        if self._executor is None:
            function(*args)
        else:
            before = self._jobs[-1] if self._jobs else None
            self._jobs.append(self._executor.submit(_call_after, before, function, *args))

    def wait(self) -> bool:
        """Wait for what was submitted, raise its first error; return whether there was anything."""
        jobs, self._jobs = self._jobs, []
        for job in jobs:
            job.result()
        return bool(jobs)


def _call_after(before: Future | None, function: Callable, *args) -> None:
    if before is not None:
        before.result()
    function(*args)


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
