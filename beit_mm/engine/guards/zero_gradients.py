from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.contracts.runner_access import model_of, optim_wrappers
from beit_mm.engine.guards.guard_hook import (
    MIN_SAMPLES,
    Symptom,
    is_left_out,
    is_positive,
    over_processes,
)
from beit_mm.engine.guards.weight_changes import grouped, names_of

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
    """Samples of the parameters of one optimizer."""

    looked: list[int]
    nonzero: Tensor | None = None
    last: int = -(10**9)


class ZeroGradients(TrainingState):
    """Find weights whose gradient is zero in every sampled update, for UpdateGuardHook."""

    def __init__(self, stride: int, ignore: tuple[str, ...]):
        self.stride, self.ignore = stride, ignore
        self._windows: dict[str, _Window] = {}
        self._handles: list = []

    def start(self, runner) -> None:
        self._names = names_of(model_of(runner))
        self._optimizers = {str(i): w.optimizer for i, w in enumerate(optim_wrappers(runner))}
        self._handles = [
            optimizer.register_step_pre_hook(partial(self._sample, runner, key))
            for key, optimizer in self._optimizers.items()
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _sample(self, runner, key: str, optimizer, args, kwargs) -> None:
        parameters = _parameters(optimizer)
        window = self._windows.get(key)
        if window is None or len(window.looked) != len(parameters):
            window = self._windows[key] = _Window([0] * len(parameters))
        if runner.iter - window.last < self.stride or is_left_out(optimizer):
            return
        window.last = runner.iter
        never = torch.zeros((), dtype=torch.bool, device=parameters[0].device)
        flags = torch.stack(
            [never if p.grad is None else _is_any(p.grad).to(never.device) for p in parameters]
        )
        window.nonzero = flags if window.nonzero is None else window.nonzero.to(flags) | flags
        rates = [group['lr'] for group in optimizer.param_groups for _ in group['params']]
        for place, rate in enumerate(rates):
            window.looked[place] += is_positive(rate)

    def judge(self, runner) -> dict[str, Symptom] | None:
        """Return the symptoms, None before all processes have ten samples."""
        zero, trained, judged = [], [], False
        for key, optimizer in self._optimizers.items():
            parameters = _parameters(optimizer)
            window = self._windows.get(key) or _Window([0] * len(parameters))
            nonzero = window.nonzero
            if nonzero is None:
                nonzero = torch.zeros(len(parameters), device=parameters[0].device)
            # Of all processes the fewest samples, and whether any had a gradient.
            looked = nonzero.new_tensor(window.looked, dtype=torch.float32)
            nonzero, fewest = over_processes(torch.cat([nonzero.float(), -looked]), 'max').chunk(2)
            ready, nonzero = (-fewest >= MIN_SAMPLES).tolist(), nonzero.tolist()
            if not any(ready):
                continue
            judged = True
            self._windows[key] = _Window([0] * len(parameters), last=window.last)
            for parameter, is_ready, there in zip(parameters, ready, nonzero, strict=True):
                name = self._names.get(id(parameter))
                if name is None or any(f'{name}.'.startswith(f'{part}.') for part in self.ignore):
                    continue
                if is_ready and parameter.requires_grad:
                    trained.append(name)
                    zero += [] if there else [name]
        if not judged:
            return None
        if zero and len(zero) == len(trained):
            text = (
                f'the gradient of all {len(zero)} weight tensors was zero in {MIN_SAMPLES} updates'
            )
            return dict(all=Symptom(text, ALL_ADVICE))
        return {
            name: Symptom(f'the gradient of {name} was zero in {MIN_SAMPLES} updates', ADVICE)
            for name in grouped(zero, trained)
        }

    def training_state(self) -> dict:
        windows = {key: dict(vars(window)) for key, window in self._windows.items()}
        for window in windows.values():
            if window['nonzero'] is not None:
                window['nonzero'] = window['nonzero'].cpu()
        return windows

    def load_training_state(self, state: dict) -> None:
        self._windows = {key: _Window(**window) for key, window in state.items()}


def _parameters(optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group['params']]


def _is_any(gradient: Tensor) -> Tensor:
    """Return on the device whether a value differs from 0, as NaN does."""
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    if values.is_cuda:
        return values.any()
    norm = torch.linalg.vector_norm(values)  # four times faster than any() on a CPU
    return norm != 0 if norm != 0 else values.any()  # squares of small values are 0
