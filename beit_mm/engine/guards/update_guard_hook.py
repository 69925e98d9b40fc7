from beit_mm.contracts import UserError
from beit_mm.engine.guards.guard_hook import GuardHook, Symptom
from beit_mm.engine.guards.weight_changes import WeightChanges
from beit_mm.engine.guards.zero_gradients import ZeroGradients
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class UpdateGuardHook(GuardHook):
    """Report a training that changes nothing, or weights whose gradient is always zero.

    - Trainable weights that are in no group of the optimizer, or groups with weights that are not
      the model's (checked before the first step as well).
    - A learning rate of 0 in all iterations since the last check, of all groups or of some, while
      iterations are left: a schedule that is over, or never began.
    - A learning rate that stays the same while a schedule is at work that moves it.
    - No update since the last check, or updates that left each weight as it was.
    - Weights whose gradient was exactly zero, or missing, in every sampled update. Only updates
      that are made count: whole ones with gradient accumulation, none that were left out because
      of NaN or an overflow. A zero in one step (drop path, the first step of a LayerScale of 0) is
      no symptom. Weights with a learning rate of 0 or without ``requires_grad`` do not count.

    Every judgment needs at least ten iterations, or ten sampled updates.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.
        ignore: Names of parameters or modules that have no gradient on purpose. Names that the
            model does not have are allowed.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    resumed = ('reported', 'changes', 'gradients')

    def __init__(
        self, interval: int = 100, action: str = 'warn', ignore: tuple[str, ...] | list[str] = ()
    ):
        super().__init__(interval, action)
        if isinstance(ignore, str):
            raise UserError(f'UpdateGuardHook.ignore={ignore!r}: expected a list of names')
        self.changes = WeightChanges(interval)
        self.gradients = ZeroGradients(self.stride, tuple(ignore))

    def before_train(self, runner) -> None:
        if self.action == 'off':
            return
        self.changes.start(runner)
        self.gradients.start(runner)
        self.report(runner, 'At the start', dict(changes=self.changes.find_misplaced(runner)))

    def after_train(self, runner) -> None:
        self.changes.stop()
        self.gradients.stop()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.action != 'off':
            self.changes.note_rates(runner)
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def check(self, runner) -> dict[str, dict[str, Symptom] | None]:
        return dict(changes=self.changes.judge(runner), gradients=self.gradients.judge(runner))
