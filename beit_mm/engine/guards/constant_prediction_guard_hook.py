import torch
from mmengine.model import is_model_wrapper
from torch import Tensor

from beit_mm.engine.guards.class_counts import constant_share
from beit_mm.engine.guards.guard_hook import Symptom, over_processes
from beit_mm.engine.guards.prediction_guard_hook import PredictionGuardHook
from beit_mm.engine.guards.watched_head import Seen
from beit_mm.registry import HOOKS

LEAST = 20  # predictions that are judged together
MOST_IN_A_STEP = 0.9  # of the targets: one image has a share of 1 by itself
ADVICE = (
    'Look at the learning rate (too high, or a warm-up that is too short), whether images and '
    'labels belong together, the normalization of data_preprocessor, whether the weights of the '
    'stage before were loaded (the load report in the log), and class_weight'
)
MASKED_ADVICE = (
    'Look at the learning rate (too high, or a warm-up that is too short), at the normalization '
    'of data_preprocessor, at the masks (all patches, or none), and whether token_inputs show the '
    'same crop as inputs'
)
TARGET_ADVICE = (
    'Nothing can be learned from them: look at the labels or the tokenizer, and whether the data '
    'are sorted by class without shuffle=True'
)


@HOOKS.register_module()
class ConstantPredictionGuardHook(PredictionGuardHook):
    """Tells of a head that gives (nearly) always the same class, while the targets differ.

    Over the ten or more steps that were looked at since the last check, or within each of them,
    all other classes together have at most ``others`` of the predictions, and a tenth of what
    they have of the targets. If it is the targets that are constant, it says so.

    Args:
        interval: Iterations between two checks.
        action: ``warn``, ``stop`` or ``off``.
        grace: As of PredictionGuardHook.
        others: In (0, 1), the share that is nearly none.

    Raises:
        UnhealthyTrainingError: With action='stop'.
    """

    def __init__(
        self,
        interval: int = 100,
        action: str = 'warn',
        grace: int | None = None,
        others: float = 0.01,
    ):
        super().__init__(interval, action, grace)
        if not 0 < others < 1:
            raise ValueError(f'ConstantPredictionGuardHook.others={others}: expected in (0, 1)')
        self.others = others

    def measure(self, seen: Seen) -> Tensor:
        """Counts (K,) of predictions and of targets, and the largest of each: (2, K + 1)."""
        rows, classes = seen.logits.shape
        counts, targets = seen.logits.new_zeros(2, classes), seen.targets
        asked = counts.new_ones(rows) if targets is None else targets.sum(1)
        counts[0].index_add_(0, seen.logits.argmax(1), asked)
        if targets is not None:
            counts[1] = targets.sum(0)
        return torch.cat([counts, counts.amax(1, keepdim=True)], 1)

    def check(self, runner) -> dict[str, Symptom] | None:
        sums = self.seen_by_all()
        if sums is None:
            return None
        if not self.head.is_loss:  # the model counts its targets itself
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            targets = over_processes(model.usage_counts()).to(sums[0])
            targets = torch.cat([targets, targets.max()[None]])
            sums = [torch.stack([predicted, targets]) for predicted, _ in sums]
        symptoms = {}
        for call, (predicted, targets) in enumerate(sums):
            symptom = self._judge(predicted, targets, _classes(runner))
            if symptom is not None:
                symptoms[f'{self.head.name} {call}'] = symptom
        return symptoms

    def _judge(self, predicted: Tensor, targets: Tensor, classes=None) -> Symptom | None:
        """Both (K + 1,), as ``measure`` makes them."""
        (predicted, top), (targets, top_target) = (
            (counts[:-1], float(counts[-1])) for counts in (predicted, targets)
        )
        if predicted.sum() < LEAST or targets.sum() < LEAST:
            return None

        def named(index: int) -> str:
            known = classes is not None and index < len(classes)
            return f'class {index} ({classes[index]})' if known else f'class {index}'

        answer, share = constant_share(predicted)
        target, target_share = constant_share(targets)
        if target_share > 1 - self.others:
            return Symptom(
                f'{target_share:.2%} of the targets of {self.head.name} are {named(target)}',
                TARGET_ADVICE,
            )
        advice = ADVICE if self.head.is_loss else MASKED_ADVICE
        if self._is_constant(share, target_share):
            return Symptom(
                f'{self.head.name} answers {named(answer)} for {share:.2%} of '
                f'{predicted.sum():.0f} {self.head.unit}, while the most frequent target, '
                f'{named(target)}, has {target_share:.2%}',
                advice,
            )
        # The class may change from step to step, as biases do that are all that is learned.
        share = top / float(predicted.sum())
        target_share = top_target / float(targets.sum())
        if target_share < MOST_IN_A_STEP and self._is_constant(share, target_share):
            return Symptom(
                f'{self.head.name} answers one class for {share:.2%} of the {self.head.unit} of a '
                f'step, another one in other steps, while the most frequent target of a step has '
                f'{target_share:.2%}',
                advice,
            )
        return None

    def _is_constant(self, share: float, target_share: float) -> bool:
        return 1 - share <= min(self.others, (1 - target_share) / 10)


def _classes(runner):
    """Names, where the data set has them for what the head chooses among."""
    info = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
    return info.get('classes')
