from collections import Counter
from collections.abc import Iterable

import torch
import torch.nn as nn
from mmengine.hooks import ParamSchedulerHook
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.contracts.runner_access import model_of, optim_wrappers, param_groups
from beit_mm.engine.guards.guard_hook import (
    MIN_SAMPLES,
    Symptom,
    is_left_out,
    is_positive,
    over_processes,
)
from beit_mm.engine.guards.schedules import is_moving, lr_schedulers


class WeightChanges(TrainingState):
    """Find weights that no update changes, and why, for UpdateGuardHook.

    Args:
        interval: Iterations between two judgments.
    """

    resumed = ('_rates', '_changed', '_ever', '_iters', '_updates', '_highest', '_sums')

    def __init__(self, interval: int):
        self.interval = interval
        self._rates: list[float] = []  # of the groups, in the latest iteration
        self._changed = 0  # the iteration in which they became these
        self._ever = False  # whether one was above 0
        self._sums: Tensor | None = None  # of the weights at the last judgment
        self._handles: list = []
        self._begin_again()

    def _begin_again(self) -> None:
        self._iters, self._updates = 0, 0  # since the last judgment
        self._highest: list[float] = []  # rate of each group since then

    def start(self, runner) -> None:
        self._names = names_of(model_of(runner))
        if self._sums is None:
            self._sums = _checksums(runner)
        self._handles = [
            wrapper.optimizer.register_step_pre_hook(self._count)
            for wrapper in optim_wrappers(runner)
        ]

    def stop(self) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, optimizer, args, kwargs) -> None:
        self._updates += not is_left_out(optimizer)

    def note_rates(self, runner) -> None:
        """Remember the learning rates of an iteration."""
        rates = [group['lr'] for group in param_groups(runner)]
        if not any(isinstance(rate, torch.Tensor) for rate in rates):
            if rates != self._rates:
                self._rates, self._changed = rates, runner.iter
            if len(self._highest) != len(rates):
                self._highest = rates
            self._highest = [max(pair) for pair in zip(rates, self._highest, strict=True)]
            self._ever |= any(map(is_positive, rates))
        self._iters += 1

    def judge(self, runner) -> dict[str, Symptom] | None:
        """Return the symptoms, None before there are ten iterations."""
        if self._iters < MIN_SAMPLES:
            return None
        self._names = names_of(model_of(runner))
        sums, before = _checksums(runner), self._sums
        changed = sums.new_ones(()) if sums.shape != before.shape else (sums != before.to(sums))
        changed = bool(over_processes(changed.any().float(), 'max'))
        symptoms = {**self.find_misplaced(runner), **self._judge_rates(runner)}
        accumulated = max(w._accumulative_counts for w in optim_wrappers(runner))
        if not self._updates and self._iters >= 2 * accumulated:
            symptoms['updates'] = Symptom(
                f'none of the last {self._iters} iterations updated the weights',
                'Look in the log for updates left out because of NaN, at the loss scale of '
                "dtype='float16', at optim_wrapper.accumulative_counts, and whether the model has "
                'a train_step of its own',
            )
        elif self._updates and not changed and (any(self._highest) or not self._highest):
            symptoms['weights'] = Symptom(
                f'{self._updates} updates left each weight of the model as it was (learning rate '
                f'{max(self._highest, default=0):.3g})',
                'Look at optim_wrapper.optimizer.lr, which may be too small for the precision of '
                'the weights, at clip_grad, and at hooks that set the weights back',
            )
        self._sums = sums
        self._begin_again()
        return symptoms

    def find_misplaced(self, runner) -> dict[str, Symptom]:
        """Find weights outside of the optimizer, and in it some that are not the model's."""
        inside = {id(p) for group in param_groups(runner) for p in group['params']}
        names = {id(p): self._names[id(p)] for p in _trainable(runner)}
        symptoms = {}
        if left_out := [name for key, name in names.items() if key not in inside]:
            words = ', '.join(grouped(left_out, names.values())[:8])
            symptoms['left out'] = Symptom(
                f'{len(left_out)} of {len(names)} trainable tensors are in no group of the '
                f'optimizer and stay as they are: {words}',
                'Look at optim_wrapper.constructor and paramwise_cfg, and for layers that are made '
                'or replaced after the optimizer was built',
            )
        if foreign := len(inside - set(self._names)):
            symptoms['foreign'] = Symptom(
                f"{foreign} of the optimizer's {len(inside)} tensors are not the model's",
                'The optimizer was built over other weights: look for layers that are replaced, '
                'copied or loaded as new parameters after it was built',
            )
        return symptoms

    def _judge_rates(self, runner) -> dict[str, Symptom]:
        left = runner.max_iters - runner.iter - 1
        if left <= 0 or len(self._highest) != len(param_groups(runner)):
            return {}
        if not any(self._highest):
            advice = (
                'The schedules end too early or with eta_min=0: set their end to the length of the '
                'run, or shorten train_cfg'
                if self._ever
                else 'Set optim_wrapper.optimizer.lr, and a start_factor above 0 in param_scheduler'
            )
            text = f'the learning rate is 0, with {left} iterations to go'
            return dict(rate=Symptom(text, advice))
        symptoms = {}
        still = [
            self._names[id(p)]
            for group, rate in zip(param_groups(runner), self._highest, strict=True)
            for p in group['params']
            if rate == 0 and p.requires_grad and id(p) in self._names
        ]
        if still:
            words = ', '.join(grouped(still, self._names.values())[:8])
            symptoms['some rates'] = Symptom(
                f'the learning rate of {len(still)} tensors is 0: {words}',
                'Look at optim_wrapper.paramwise_cfg (lr_mult, layer_decay_rate); what is meant to '
                'stay as it is takes frozen=True or requires_grad_(False)',
            )
        for scheduler in lr_schedulers(runner):
            if self._should_have_moved(scheduler, runner):
                name = type(scheduler).__name__
                symptoms['schedule'] = Symptom(
                    f'the learning rate has been {max(self._rates):.3g} since iteration '
                    f'{self._changed + 1}, though a {name} is at work from {scheduler.begin} to '
                    f'{scheduler.end}',
                    _why_frozen(scheduler, runner),
                )
        return symptoms

    def _should_have_moved(self, scheduler, runner) -> bool:
        """Return whether the schedule has been at work for long enough since the last change."""
        unit = len(runner.train_dataloader) if scheduler.by_epoch else 1
        if _has_no_epochs(scheduler, runner):
            return runner.iter - self._changed >= max(self.interval, MIN_SAMPLES) - 1
        now, since = runner.iter // unit, max(self._changed // unit, scheduler.begin)
        patience = 2 if scheduler.by_epoch else max(self.interval, MIN_SAMPLES) - 1
        return now < scheduler.end - 1 and now - since >= patience and is_moving(scheduler)


def _why_frozen(scheduler, runner) -> str:
    if not any(isinstance(hook, ParamSchedulerHook) for hook in runner.hooks):
        return 'default_hooks.param_scheduler is missing: set dict(type=ParamSchedulerHook)'
    if _has_no_epochs(scheduler, runner):
        return (
            'A loop of iterations has no epochs that a schedule could count: set by_epoch=False, '
            'and begin and end in iterations'
        )
    if scheduler.optimizer not in optim_wrappers(runner):
        return "The schedule moves another optimizer's rate: look for one that is built twice"
    return 'Look for a hook or a model that sets the rate back, and at schedules that cancel out'


def _has_no_epochs(scheduler, runner) -> bool:
    """Return whether the schedule counts epochs in a loop that has none, and so never moves."""
    return scheduler.by_epoch and not isinstance(runner.train_loop, EpochBasedTrainLoop)


def _trainable(runner) -> list[Tensor]:
    return [p for p in model_of(runner).parameters() if p.requires_grad]


@torch.no_grad()
def _checksums(runner) -> Tensor:
    """Return two numbers of each trainable tensor, (2, P), that change when it does."""
    tensors = [p.detach().float() for p in _trainable(runner)]
    if not tensors:
        return torch.zeros(2, 0)
    device = tensors[0].device
    sums = torch.stack([t.sum().to(device) for t in tensors])
    norms = torch.stack([torch.linalg.vector_norm(t).to(device) for t in tensors])
    return torch.stack([sums, norms])


def names_of(model: nn.Module) -> dict[int, str]:
    """Return the name of each parameter of the model by the parameter's ``id``."""
    return {id(parameter): name for name, parameter in model.named_parameters()}


def grouped(names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Name parameters in few words: a module stands for all that it has ``among`` them.

    ``['a.x', 'a.y', 'b.x']`` among ``['a.x', 'a.y', 'b.x', 'b.y']`` are
    ``['a (2 tensors)', 'b.x']``.
    """
    names = list(names)
    found, total = (Counter(p for n in group for p in _prefixes(n)) for group in (names, among))
    words = {}
    for name in names:
        module = next(prefix for prefix in _prefixes(name) if found[prefix] == total[prefix])
        if found[module] == 1:
            words[name] = name
        else:
            words[module] = f'{module} ({found[module]} tensors)'
    return list(words.values())


def _prefixes(name: str) -> list[str]:
    parts = name.split('.')
    return ['.'.join(parts[:length]) for length in range(1, len(parts) + 1)]
