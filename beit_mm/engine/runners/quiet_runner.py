import os
import platform
from collections.abc import Callable
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch import Tensor

from beit_mm.engine.runners.start_summary import describe_loaded, summary_of
from beit_mm.engine.runners.terminal_filter import TerminalFilter
from beit_mm.registry import RUNNERS

FIRST = ('before_train_iter', 'before_val_iter', 'before_test_iter')


@RUNNERS.register_module()
class QuietRunner(Runner):
    """Runner whose terminal says in a few lines what is about to run; the log file has all.

    The lines are about model, data, batch, learning rate and what was loaded; then come the
    warnings of the start, together, then the first step. Config, environment and the order of hooks
    are in the work dir: ``CONFIG.py``, and ``TIMESTAMP/TIMESTAMP.log``. It does not
    import torchvision for its version, as MMEngine's does.
    """

    def __init__(self, *args, **kwargs):
        self.terminal = TerminalFilter()
        self._is_first = False  # the next step is the first one
        try:
            super().__init__(*args, **kwargs)
        except BaseException:
            self._release()
            raise

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        self.terminal.watch(logger)
        return logger

    def call_hook(self, fn_name: str, **kwargs) -> None:
        if fn_name == 'after_train_iter' and self._is_first:
            self._is_first = False
            self._show(f'First step: {_values(kwargs.get("outputs"))}')
        super().call_hook(fn_name, **kwargs)
        if fn_name == 'before_run':
            self._show(*summary_of(self))
        elif fn_name in FIRST and self.terminal.waits:
            self._show(*describe_loaded(self.terminal.loaded))
            self._release()
            self._is_first = fn_name == 'before_train_iter'

    def train(self) -> Any:
        return self._released(super().train)

    def val(self) -> dict:
        return self._released(super().val)

    def test(self) -> dict:
        return self._released(super().test)

    def _log_env(self, env_cfg: dict) -> None:
        cuda = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
        found = dict(
            platform=platform.platform(),
            processors=os.cpu_count(),
            threads=torch.get_num_threads(),
            gpus=cuda,
            torch=torch.__config__.show(),
            launcher=self._launcher,
            world_size=self._world_size,
            **{**env_cfg, **self._randomness_cfg, 'seed': self._seed},
        )
        lines = [f'  {name}: {value}' for name, value in found.items()]
        self.logger.info('\n'.join(['Environment:', *lines]))

    def _released(self, run: Callable[[], Any]) -> Any:
        """Run something, and keep no warning back even if it fails."""
        try:
            return run()
        finally:
            self._release()

    def _show(self, *lines: str) -> None:
        for line in lines:
            self.logger.info(line, extra=dict(shown=True))

    def _release(self) -> None:
        if self.terminal.waits:
            self.terminal.release(MMLogger.get_current_instance())


def _values(outputs: Any) -> str:
    """Return the scalars of a step."""
    found = outputs.items() if isinstance(outputs, dict) else ()
    found = [(name, value) for name, value in found if isinstance(value, Tensor | float)]
    return ', '.join(f'{n} {torch.as_tensor(v).detach().mean():.4f}' for n, v in found)
