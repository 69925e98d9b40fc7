import signal

from beit_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def ignore_interrupt(worker_id: int) -> None:
    """For ``worker_init_fn``: Ctrl-C reaches workers too; the main process alone answers it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
