from abc import abstractmethod

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor

from beit_mm.engine.guards.guard_hook import LOOKS, GuardHook, over_processes
from beit_mm.engine.guards.schedules import warm_up_end
from beit_mm.engine.guards.watched_head import Seen, watched_head


class PredictionGuardHook(GuardHook):
    """A guard that looks at what the head answers, from outside of the model.

    In ten steps of each interval, a forward hook reads a call of the head's softmax loss
    (``model.head.loss_module`` of mmpretrain, ``model.decode_head.loss_decode`` of mmseg) or of
    its last layer (``model.head.proj`` of a masked image model), at most 4096 rows of it. Other
    models, such as tokenizers, and ``compile`` have nothing to look at.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.
        grace: Iterations after the warm-up of the learning rate that are not judged. None takes a
            tenth of the run, at most 5000.
    """

    def __init__(self, interval: int = 100, action: str = 'warn', grace: int | None = None):
        super().__init__(interval, action)
        if grace is not None and grace < 0:
            raise ValueError(f'{type(self).__name__}.grace={grace}: expected at least 0, or None')
        self.grace = grace
        self._sums: list[Tensor] = []  # of the first call in a step, of the second, ...
        self._looks = 0
        self._handle = None

    @abstractmethod
    def measure(self, seen: Seen) -> Tensor:
        """One call -> numbers that are added over calls and processes."""

    def before_train(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        off = self.action == 'off' or runner.cfg.get('compile', False)
        self.head = None if off else watched_head(model)
        grace = min(runner.max_iters // 10, 5000) if self.grace is None else self.grace
        self.begin = warm_up_end(runner) + grace

    def looks_at(self, runner) -> bool:
        step = runner.iter + 1
        return self.head is not None and step > self.begin and step % self.stride == 0

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if self.looks_at(runner):
            self._calls = 0
            self._handle = self.head.module.register_forward_hook(self._see, with_kwargs=True)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None
            self._looks += 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    @torch.no_grad()
    def _see(self, module, args, kwargs, output) -> None:
        seen = self.head.read(args, kwargs, output)
        if seen is None:
            return
        numbers = self.measure(seen)
        if self._calls == len(self._sums):
            self._sums.append(torch.zeros_like(numbers))
        self._sums[self._calls] = self._sums[self._calls].to(numbers) + numbers
        self._calls += 1

    def seen_by_all(self) -> list[Tensor] | None:
        """The sums since the last time, of all processes; None if the looks are too few."""
        if self._looks < LOOKS or not self._sums:
            return None
        sums, self._sums, self._looks = self._sums, [], 0
        return list(over_processes(torch.stack(sums)).double().cpu())

    def training_state(self) -> dict:
        sums = [numbers.cpu() for numbers in self._sums]
        return dict(super().training_state(), sums=sums, looks=self._looks)

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        self._sums, self._looks = list(state['sums']), state['looks']
