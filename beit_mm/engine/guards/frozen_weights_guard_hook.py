import torch
from mmengine.hooks import ParamSchedulerHook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from beit_mm.contracts.runner_access import optim_wrappers
from beit_mm.engine.guards.guard_hook import LOOKS, GuardHook, Symptom, is_positive, over_processes
from beit_mm.engine.guards.schedules import is_moving, lr_schedulers
from beit_mm.engine.guards.weight_names import grouped, names_of
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class FrozenWeightsGuardHook(GuardHook):
    """Tells of a training that changes nothing: by its learning rate, its optimizer or its steps.

    - trainable weights that are in no group of the optimizer, or groups of weights that the model
      hasn't got (before the first step as well);
    - a learning rate of 0 in all iterations since the last check, of all groups or of some, while
      iterations are left: a schedule that is over, or never began;
    - a learning rate that stays the same while a schedule is at work that moves it;
    - no update since the last check, or updates that left each weight as it was.

    At least ten iterations are judged together.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    def __init__(self, interval: int = 100, action: str = 'warn'):
        super().__init__(interval, action)
        self._rates: list[float] = []  # of the groups, in the latest iteration
        self._changed = 0  # the iteration in which they became these
        self._ever = False  # above 0
        self._sums: Tensor | None = None  # of the weights at the last check
        self._begin_again()

    def _begin_again(self) -> None:
        self._iters, self._updates = 0, 0  # since the last check
        self._highest: list[float] = []

    def before_train(self, runner) -> None:
        self._handles = []
        if self.action == 'off':
            return
        self._names = names_of(runner.model)
        if self._sums is None:
            self._sums = self._fingerprint(runner)
        self._handles = [
            wrapper.optimizer.register_step_pre_hook(self._count)
            for wrapper in optim_wrappers(runner)
        ]
        self.tell(runner, 'At the start', self._members(runner))

    def after_train(self, runner) -> None:
        for handle in self._handles:
            handle.remove()

    def _count(self, optimizer, args, kwargs) -> None:
        self._updates += 1

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        rates = [group['lr'] for group in _groups(runner)]
        if not any(isinstance(rate, torch.Tensor) for rate in rates):
            if rates != self._rates:
                self._rates, self._changed = rates, runner.iter
            if len(self._highest) != len(rates):
                self._highest = rates
            self._highest = [max(pair) for pair in zip(rates, self._highest, strict=True)]
            self._ever |= any(map(is_positive, rates))
        self._iters += 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def check(self, runner) -> dict[str, Symptom] | None:
        if self._iters < LOOKS:
            return None
        self._names = names_of(runner.model)
        sums, before = self._fingerprint(runner), self._sums
        changed = sums.new_ones(()) if sums.shape != before.shape else (sums != before.to(sums))
        changed = bool(over_processes(changed.any().float(), 'max'))
        symptoms = {**self._members(runner), **self._rate(runner)}
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

    def _members(self, runner) -> dict[str, Symptom]:
        inside = {id(p) for group in _groups(runner) for p in group['params']}
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

    def _rate(self, runner) -> dict[str, Symptom]:
        left = runner.max_iters - runner.iter - 1
        if left <= 0 or len(self._highest) != len(_groups(runner)):
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
            for group, rate in zip(_groups(runner), self._highest, strict=True)
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
                cause = _why_frozen(scheduler, runner)
                name = type(scheduler).__name__
                symptoms['schedule'] = Symptom(
                    f'the learning rate has been {max(self._rates):.3g} since iteration '
                    f'{self._changed + 1}, though a {name} is at work from {scheduler.begin} to '
                    f'{scheduler.end}',
                    cause,
                )
        return symptoms

    def _should_have_moved(self, scheduler, runner) -> bool:
        """Whether the schedule has been at work for long enough since the rate last changed."""
        unit = len(runner.train_dataloader) if scheduler.by_epoch else 1
        if _has_no_epochs(scheduler, runner):
            return runner.iter - self._changed >= max(self.interval, LOOKS) - 1
        now, since = runner.iter // unit, max(self._changed // unit, scheduler.begin)
        patience = 2 if scheduler.by_epoch else max(self.interval, LOOKS) - 1
        return now < scheduler.end - 1 and now - since >= patience and is_moving(scheduler)

    @torch.no_grad()
    def _fingerprint(self, runner) -> Tensor:
        """Two numbers of each trainable tensor (2, P) that change when it does."""
        tensors = [p.detach().float() for p in _trainable(runner)]
        if not tensors:
            return torch.zeros(2, 0)
        device = tensors[0].device
        sums = torch.stack([t.sum().to(device) for t in tensors])
        norms = torch.stack([torch.linalg.vector_norm(t).to(device) for t in tensors])
        return torch.stack([sums, norms])

    def training_state(self) -> dict:
        return dict(
            super().training_state(),
            rates=list(self._rates),
            changed=self._changed,
            ever=self._ever,
            sums=None if self._sums is None else self._sums.cpu(),
            iters=self._iters,
            updates=self._updates,
            highest=list(self._highest),
        )

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        self._rates, self._changed = list(state['rates']), state['changed']
        self._ever, self._sums = state['ever'], state['sums']
        self._iters, self._updates = state['iters'], state['updates']
        self._highest = list(state['highest'])


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
    """Counts them in a loop that has none, so it stays at its beginning."""
    return scheduler.by_epoch and not isinstance(runner.train_loop, EpochBasedTrainLoop)


def _groups(runner) -> list[dict]:
    return [group for w in optim_wrappers(runner) for group in w.optimizer.param_groups]


def _trainable(runner) -> list[Tensor]:
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return [p for p in model.parameters() if p.requires_grad]
