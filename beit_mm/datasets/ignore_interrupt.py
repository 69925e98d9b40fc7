import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType

from torch.utils.data import DataLoader

from beit_mm.registry import FUNCTIONS

# What stops a run or warns it: Ctrl-C, batch systems, a lost connection. Not all on each system.
NAMES = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2')
STOP_SIGNALS = [signal.Signals[name] for name in NAMES if name in signal.Signals.__members__]


@FUNCTIONS.register_module()
def ignore_interrupt(worker_id: int) -> None:
    """Ignore Ctrl-C and the like, which reach workers too; the main process answers them.

    It is a ``worker_init_fn``.

    Args:
        worker_id: Not used.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def shield_workers(loader: DataLoader) -> None:
    """Keep stop signals from the workers of ``loader``, from their first moment on.

    One that dies is an error where its batch is waited for, not anywhere else. They end with the
    main process: they look for it every few seconds, and what hangs is killed at its exit.
    """
    if '_get_iterator' in vars(loader):
        return
    start = loader._get_iterator

    def shielded():
        with _held_back():
            return start()

    loader._get_iterator = shielded
    atexit.unregister(_kill_workers)
    atexit.register(_kill_workers)  # before multiprocessing's, which would wait for them


@contextmanager
def _held_back() -> Iterator[None]:
    """Block the signals, which processes that are started inside inherit."""
    if os.name != 'posix':
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    of_children = signal.getsignal(signal.SIGCHLD)
    if isinstance(of_children, FunctionType) and of_children.__module__.startswith('torch.'):
        of_children = signal.SIG_DFL  # of a loader that was not shielded
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if threading.current_thread() is threading.main_thread():
            # torch's raises in the midst of a step or a save; a dead worker is missed soon enough
            signal.signal(signal.SIGCHLD, of_children)


def _kill_workers() -> None:
    workers = [child for child in multiprocessing.active_children() if child.daemon]
    if workers and os.name == 'posix':
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's would report them as failed
    for worker in workers:
        worker.kill()
