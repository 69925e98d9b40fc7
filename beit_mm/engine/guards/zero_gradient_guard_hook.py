from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from beit_mm.contracts.runner_access import optim_wrappers
from beit_mm.engine.guards.guard_hook import LOOKS, GuardHook, Symptom, is_positive, over_processes
from beit_mm.engine.guards.weight_names import grouped, names_of
from beit_mm.registry import HOOKS

ADVICE = (
    'Look for a detach() or no_grad() between it and the loss, an output that no loss uses, a loss '
    'weight of 0, or units that are off for every input; what is meant to stay as it is takes '
    'requires_grad_(False), frozen=True or a place in the ignore list of this hook'
)
ALL_ADVICE = (
    'The loss does not depend on the weights: look for a detach() or no_grad() on its way, a loss '
    'weight of 0, targets that are all ignored (ignore_index, no masked patch), or gradients too '
    "small for dtype='float16'"
)


@dataclass
class _Window:
    """Of the parameters of one optimizer."""

    looked: list[int]
    nonzero: Tensor | None = None
    last: int = -(10**9)


@HOOKS.register_module()
class ZeroGradientGuardHook(GuardHook):
    """Tells of weights whose gradient is exactly zero, or missing, in every update that it saw.

    It looks at updates that are made: with accumulation at whole ones, not at those that were
    left out for NaN or an overflow. At least ten looks are judged together, so a zero in one step
    (drop path, the first step of a LayerScale of 0) is no symptom. Weights with a learning rate
    of 0 or without ``requires_grad`` don't count.

    Args:
        interval: Iterations between two checks, with ten looks in between.
        action: ``warn``, ``stop`` or ``off``.
        ignore: Names of parameters, or of modules, that have no gradient on purpose; those that
            the model hasn't got don't matter.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    def __init__(
        self, interval: int = 100, action: str = 'warn', ignore: tuple[str, ...] | list[str] = ()
    ):
        super().__init__(interval, action)
        if isinstance(ignore, str):
            raise ValueError(f'ZeroGradientGuardHook.ignore={ignore!r}: expected a list of names')
        self.ignore = tuple(ignore)
        self._windows: dict[str, _Window] = {}

    def before_train(self, runner) -> None:
        self._handles = []
        if self.action == 'off':
            return
        self._names = names_of(runner.model)
        self._optimizers = {str(i): w.optimizer for i, w in enumerate(optim_wrappers(runner))}
        # before the optimizer's own step, which is called for updates that are made
        self._handles = [
            optimizer.register_step_pre_hook(partial(self._look, runner, key))
            for key, optimizer in self._optimizers.items()
        ]

    def after_train(self, runner) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _look(self, runner, key: str, optimizer, args, kwargs) -> None:
        parameters = _parameters(optimizer)
        window = self._windows.get(key)
        if window is None or len(window.looked) != len(parameters):
            window = self._windows[key] = _Window([0] * len(parameters))
        if runner.iter - window.last < self.stride:
            return
        window.last = runner.iter
        never = torch.zeros((), dtype=torch.bool, device=parameters[0].device)
        flags = [never if p.grad is None else _any(p.grad).to(never.device) for p in parameters]
        flags = torch.stack(flags)
        window.nonzero = flags if window.nonzero is None else window.nonzero.to(flags) | flags
        rates = [group['lr'] for group in optimizer.param_groups for _ in group['params']]
        for place, rate in enumerate(rates):
            window.looked[place] += is_positive(rate)

    def check(self, runner) -> dict[str, Symptom] | None:
        zero, trained, judged = [], [], 0
        for key, optimizer in self._optimizers.items():
            parameters = _parameters(optimizer)
            window = self._windows.get(key) or _Window([0] * len(parameters))
            nonzero = window.nonzero
            if nonzero is None:
                nonzero = torch.zeros(len(parameters), device=parameters[0].device)
            # the fewest looks of all processes, and whether any had a gradient
            looked = nonzero.new_tensor(window.looked, dtype=torch.float32)
            nonzero, fewest = over_processes(torch.cat([nonzero.float(), -looked]), 'max').chunk(2)
            judge, nonzero = (-fewest >= LOOKS).tolist(), nonzero.tolist()
            if not any(judge):
                continue
            judged += 1
            self._windows[key] = _Window([0] * len(parameters), last=window.last)
            for parameter, ready, there in zip(parameters, judge, nonzero, strict=True):
                name = self._names.get(id(parameter))
                if name is None or any(f'{name}.'.startswith(f'{part}.') for part in self.ignore):
                    continue
                if ready and parameter.requires_grad:
                    trained.append(name)
                    zero += [] if there else [name]
        if not judged:
            return None
        if zero and len(zero) == len(trained):
            text = f'the gradient of all {len(zero)} weight tensors was zero in {LOOKS} updates'
            return dict(all=Symptom(text, ALL_ADVICE))
        return {
            name: Symptom(f'the gradient of {name} was zero in {LOOKS} updates', ADVICE)
            for name in grouped(zero, trained)
        }

    def training_state(self) -> dict:
        windows = {
            key: dict(
                looked=list(window.looked),
                nonzero=None if window.nonzero is None else window.nonzero.cpu(),
                last=window.last,
            )
            for key, window in self._windows.items()
        }
        return dict(super().training_state(), windows=windows)

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        self._windows = {key: _Window(**window) for key, window in state['windows'].items()}


def _parameters(optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group['params']]


def _any(gradient: Tensor) -> Tensor:
    """Whether a value differs from 0, NaN included; on the device."""
    return (gradient.coalesce().values() if gradient.is_sparse else gradient).any()
