import math

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor

from beit_mm.engine.guards.class_counts import chance_of
from beit_mm.engine.guards.guard_hook import Symptom, over_processes
from beit_mm.engine.guards.prediction_guard_hook import PredictionGuardHook
from beit_mm.engine.guards.watched_head import Seen
from beit_mm.registry import HOOKS

ADVICE = (
    'Look at the learning rate (too high, or too low to move), whether images and labels belong '
    'together, the normalization of data_preprocessor, and whether the weights of the stage before '
    'were loaded (the load report in the log)'
)
MASKED_ADVICE = (
    'Look at the learning rate (too high, or too low to move), at the normalization of '
    'data_preprocessor, at the masks, whether token_inputs show the same crop as inputs, and '
    'whether the tokenizer is trained'
)


@HOOKS.register_module()
class ChanceLossGuardHook(PredictionGuardHook):
    """Tells of a loss that is no better than chance after the warm-up.

    Chance is the cross-entropy of the best prediction that is the same for all inputs: the
    entropy of the targets (of the labels as the loss smooths, mixes and weights them). A masked
    image model knows both over its own window of steps (``gain_over_unigram``); for classification and
    segmentation the loss is computed from the logits of the steps that are looked at, and the
    targets are counted since the beginning.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.
        grace: As of PredictionGuardHook.
        min_gap: The loss has to be below (1 - min_gap) times chance.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    def __init__(
        self,
        interval: int = 100,
        action: str = 'warn',
        grace: int | None = None,
        min_gap: float = 0.01,
    ):
        super().__init__(interval, action, grace)
        if not 0 <= min_gap < 1:
            raise ValueError(f'ChanceLossGuardHook.min_gap={min_gap}: expected in [0, 1)')
        self.min_gap = min_gap
        self._targets: Tensor | None = None  # (K,), of all checks
        self._outputs: dict = {}

    def looks_at(self, runner) -> bool:
        return super().looks_at(runner) and self.head.is_loss

    def measure(self, seen: Seen) -> Tensor:
        """The loss, what it is divided by, and masses and weights of the targets: (2 + 2K,)."""
        classes = seen.logits.shape[1]
        weights = seen.logits.new_ones(classes) if seen.weights is None else seen.weights
        mass = seen.smoothed * weights
        losses = -(mass * seen.logits.log_softmax(1)).sum(1)
        finite = losses.isfinite()  # a batch that is left out
        losses = torch.where(finite, losses, 0.0)
        smoothed, mass = seen.smoothed * finite[:, None], mass * finite[:, None]
        return torch.cat([losses.sum()[None], mass.sum()[None], smoothed.sum(0), mass.sum(0)])

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        self._outputs = outputs if isinstance(outputs, dict) else {}
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._outputs = {}

    def check(self, runner) -> dict[str, Symptom] | None:
        if self.head is None:
            return None
        if not self.head.is_loss:
            return self._check_masked(runner)
        sums = self.seen_by_all()
        if sums is None:
            return None
        (loss, total), counts = sums[0][:2].tolist(), sums[0][2:].view(2, -1)
        if self._targets is None or self._targets.shape != counts.shape:
            self._targets = torch.zeros_like(counts)
        self._targets += counts
        masses, weighted = self._targets
        weights = weighted / masses.clamp(min=1e-12)
        chance = chance_of(masses, weights) if masses.sum() else 0.0
        return self._judge(loss / total if total else 0.0, chance)

    def _check_masked(self, runner) -> dict[str, Symptom] | None:
        """From the model's own window, which the logged figures are of."""
        if runner.iter + 1 <= self.begin:
            return None
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        counts = over_processes(model.usage_counts())
        names = ('gain_over_unigram', 'chance')
        gap, chance = (float(self._outputs.get(name, math.nan)) for name in names)
        loss = (1 - gap) * chance  # the mean one of all processes
        if not math.isfinite(loss) or not counts.sum():
            return None
        return self._judge(loss, chance_of(counts))

    def _judge(self, loss: float, chance: float) -> dict[str, Symptom]:
        if chance < 1e-3 or loss < (1 - self.min_gap) * chance:  # or there is nothing to choose
            return {}
        text = (
            f'the cross-entropy of {self.head.name} is {loss:.4g}, and chance (always the same '
            f'prediction, the best one) has {chance:.4g}, after a warm-up and grace of '
            f'{self.begin} iterations'
        )
        advice = ADVICE if self.head.is_loss else MASKED_ADVICE
        return {self.head.name: Symptom(text, advice, loss / chance)}

    def training_state(self) -> dict:
        return dict(super().training_state(), targets=self._targets)

    def load_training_state(self, state: dict) -> None:
        super().load_training_state(state)
        self._targets = state['targets']
