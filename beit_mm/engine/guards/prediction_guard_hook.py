import torch
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.contracts.sample_source import class_names
from beit_mm.engine.guards.constant_prediction import ConstantPrediction
from beit_mm.engine.guards.guard_hook import MIN_SAMPLES, GuardHook, Symptom, over_processes
from beit_mm.engine.guards.schedules import warm_up_end
from beit_mm.engine.guards.unigram_loss import UnigramLoss
from beit_mm.engine.guards.watched_head import Seen, watched_head
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class PredictionGuardHook(GuardHook):
    """Report a head that always answers the same class, or learns nothing but the shares.

    In ten steps of each interval it reads the calls of the head's softmax loss
    (``model.head.loss_module`` of mmpretrain, ``model.decode_head.loss_decode`` of mmseg) or of the
    ``loss`` of a MIMHead, at most 4096 rows of the predictions. Other models, such as tokenizers,
    and ``compile`` have nothing to look at.

    - The same class: over the sampled steps since the last check, or within each of them, all
      other classes together have at most ``others`` of the predictions, and a tenth of what they
      have of the targets. If the targets are constant, it says so.
    - The unigram entropy, the cross-entropy of the best prediction that is the same for all
      inputs: a loss that is no better has learned nothing but the shares of the targets.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.
        grace: Iterations after the warm-up of the learning rate that are not judged. None takes a
            tenth of the run, at most 5000.
        others: In (0, 1), the share that counts as nearly none.
        min_gap: The loss has to be below (1 - min_gap) times the unigram entropy.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    resumed = ('reported', 'sums', 'samples', 'unigram')

    def __init__(
        self,
        interval: int = 100,
        action: str = 'warn',
        grace: int | None = None,
        others: float = 0.01,
        min_gap: float = 0.01,
    ):
        super().__init__(interval, action)
        if grace is not None and grace < 0:
            raise UserError(f'PredictionGuardHook.grace={grace}: expected at least 0, or None')
        if not 0 < others < 1:
            raise UserError(f'PredictionGuardHook.others={others}: expected in (0, 1)')
        if not 0 <= min_gap < 1:
            raise UserError(f'PredictionGuardHook.min_gap={min_gap}: expected in [0, 1)')
        self.grace = grace
        self.constant, self.unigram = ConstantPrediction(others), UnigramLoss(min_gap)
        self.sums: list[Tensor] = []  # of the first call in a step, of the second, ...
        self.samples = 0  # steps
        self._stop_watching = None

    def before_train(self, runner) -> None:
        is_off = self.action == 'off' or runner.cfg.get('compile', False)
        self.head = None if is_off else watched_head(model_of(runner))
        grace = min(runner.max_iters // 10, 5000) if self.grace is None else self.grace
        self.begin = warm_up_end(runner) + grace

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        step = runner.iter + 1
        if self.head is not None and step > self.begin and step % self.stride == 0:
            self._calls = 0
            self._stop_watching = self.head.watch(self._see)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._stop_watching is not None:
            self._stop_watching()
            self._stop_watching = None
            self.samples += 1
        super().after_train_iter(runner, batch_idx, data_batch, outputs)

    def _see(self, seen: Seen | None) -> None:
        if seen is None:
            return
        numbers = seen.flatten()
        if self._calls == len(self.sums):
            self.sums.append(torch.zeros_like(numbers))
        self.sums[self._calls] = self.sums[self._calls].to(numbers) + numbers
        self._calls += 1

    def check(self, runner) -> dict[str, dict[str, Symptom] | None]:
        if self.samples < MIN_SAMPLES:
            return {}
        sums, self.sums, self.samples = self.sums, [], 0
        number = int(over_processes(torch.tensor(len(sums)), 'min'))  # where each saw something
        if number == 0:
            return {}
        sums = torch.stack(sums[:number])
        calls = [Seen.unflatten(one) for one in over_processes(sums).double().cpu()]
        names = class_names(runner.train_dataloader.dataset)
        symptoms = {
            f'{self.head.name} {number}': self.constant.judge(self.head, seen, names)
            for number, seen in enumerate(calls)
        }
        symptoms['unigram'] = self.unigram.judge(self.head, calls[0], self.begin)
        return dict(head={key: symptom for key, symptom in symptoms.items() if symptom is not None})
