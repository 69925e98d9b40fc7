import logging
import os
import signal
import threading
import time
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size
from mmengine.hooks import Hook

from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import at_update_boundary
from beit_mm.datasets.ignore_interrupt import STOP_SIGNALS, shield_workers
from beit_mm.engine.hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from beit_mm.registry import HOOKS

EXIT_STATUS = 75  # EX_TEMPFAIL of sysexits.h: run the same command with --resume
SAME = 2.0  # seconds: a batch system and a launcher both pass a signal on, and mean one


@HOOKS.register_module()
class GracefulStopHook(Hook):
    """Save after the next update of the weights and exit, at SIGTERM, Ctrl-C and the like.

    All processes stop after the same step, whichever of them the signal reached; those that load
    data go on until then. The same signal again, after two seconds or by Ctrl-C, ends the process
    at once. A stop during a validation waits for its end and one more update.

    Args:
        signals: Names of the signals. By default also SIGHUP (a lost connection; nohup is
            respected), SIGUSR1 and SIGUSR2 (warnings of batch systems).
    """

    priority = 'LOWEST'

    def __init__(self, signals: Sequence[str] | None = None):
        for name in signals or ():
            if name not in signal.Signals.__members__:
                known = ', '.join(number.name for number in STOP_SIGNALS)
                raise UserError(f'GracefulStopHook.signals has {name!r}: expected some of {known}')
        given = [signal.Signals[name] for name in signals or ()]
        self.signals = STOP_SIGNALS if signals is None else given
        self._received: int | None = None
        self._times: dict[int, float] = {}
        self._before: dict = {}

    def before_train(self, runner) -> None:
        self._received, self._times = None, {}
        self._complete = self._started_again = False
        if threading.current_thread() is threading.main_thread():
            for number in self.signals:
                ignored = signal.getsignal(number) is signal.SIG_IGN
                if not ignored or number.name != 'SIGHUP':  # nohup
                    self._before[number] = signal.signal(number, self._note)
        shield_workers(runner.train_dataloader)

    def before_val(self, runner) -> None:
        shield_workers(runner.val_dataloader)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._complete = at_update_boundary(runner)
        if self._complete and self._requested():
            self._stop(runner)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._complete = False

    def after_train(self, runner) -> None:
        self._restore()

    def _note(self, number: int, frame) -> None:
        now = time.monotonic()
        if number in self._times:
            if number == signal.SIGINT or now - self._times[number] > SAME:
                self._restore()
                signal.raise_signal(number)  # which ends the process
            return
        self._times[number] = now
        self._received = self._received or number
        name = signal.Signals(number).name
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
        savers = [hook for hook in runner.hooks if isinstance(hook, AtomicCheckpointHook)]
        done = ', '.join(hook.save_now(runner) for hook in savers)
        done = done or 'nothing: no AtomicCheckpointHook'
        runner.logger.warning(
            f'{signal.Signals(self._received).name} after iteration {runner.iter + 1}: '
            f'saved {done}; exiting with status {EXIT_STATUS}. Go on with --resume'
        )
        self._restore()
        logging.shutdown()
        raise SystemExit(EXIT_STATUS)

    def data_failed(self, runner, error: Exception) -> None:
        """Save all the same when what stops the run has ended the data workers too.

        Within an accumulation, and with several processes, new workers bring the data until then.
        """
        if self._received is None:
            return
        loop = runner.train_loop
        if self._complete and get_world_size() == 1:
            loop._iter -= 1  # for hooks the step that is done is the current one
            self._stop(runner)
        elif not self._started_again:
            self._started_again = loop.starts_again = True
            runner.logger.warning(f'Starting the data workers again, to get to the save: {error}')
