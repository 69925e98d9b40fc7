import logging
import os
import signal
import threading
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.hooks import Hook

from beit_mm.contracts.runner_access import at_update_boundary
from beit_mm.engine.hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class GracefulStopHook(Hook):
    """Save after the next update of the weights and exit, at SIGTERM or Ctrl-C.

    All processes stop after the same step, whichever of them the signal reached. A second signal
    ends the process at once. A stop during a validation waits for its end and one more update.

    Args:
        signals: Names of the signals.
        exit_status: 75 is EX_TEMPFAIL of sysexits.h: run the same command with --resume.
    """

    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGINT'), exit_status: int = 75):
        self.signals = [signal.Signals[name] for name in signals]
        self.exit_status = exit_status
        self._received: int | None = None
        self._before: dict = {}

    def before_train(self, runner) -> None:
        self._received, self._complete = None, False
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in self.signals}

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._complete = at_update_boundary(runner)
        if self._complete and self._requested():
            self._stop(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._complete = False

    def after_train(self, runner) -> None:
        self._restore()

    def _note(self, number: int, frame) -> None:
        self._received = number
        self._restore()  # a second signal ends the process
        name = signal.Signals(number).name
        # Workers that got the signal too are no reason to fail before the save.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        try:  # not print(), which may be at work already where the signal came
            os.write(2, f'\n{name}: saving after the next update, then exiting\n'.encode())
        except OSError:
            pass  # Ctrl-C has ended the reader of a pipe as well, such as tee

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _requested(self) -> bool:
        if get_world_size() == 1:
            return self._received is not None
        number = torch.tensor(self._received or 0, device=get_comm_device())
        all_reduce(number, 'max')
        self._received = int(number) or None
        return self._received is not None

    def _stop(self, runner) -> None:
        self._restore()
        savers = [hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)]
        done = ', '.join(hook.save_now(runner) for hook in savers)
        done = done or 'nothing: no AtomicCheckpointHook'
        runner.logger.warning(
            f'{signal.Signals(self._received).name} after iteration {runner.iter + 1}: '
            f'saved {done}; exiting with status {self.exit_status}. Go on with --resume'
        )
        logging.shutdown()
        raise SystemExit(self.exit_status)

    def data_failed(self, runner, error: Exception) -> None:
        """Save when the signal has ended the data workers between two steps."""
        if self._received is not None and self._complete and get_world_size() == 1:
            loop = runner.train_loop
            loop._iter -= 1  # for hooks the step that is done is the current one
            self._stop(runner)
