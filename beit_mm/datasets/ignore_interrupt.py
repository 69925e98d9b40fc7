import signal

from beit_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def ignore_interrupt(worker_id: int) -> None:
    """Ignore Ctrl-C, which reaches workers too (``worker_init_fn``); the main process answers it.

    Args:
        worker_id: Not used.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
