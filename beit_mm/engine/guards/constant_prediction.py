from torch import Tensor

from beit_mm.engine.guards.guard_hook import Symptom
from beit_mm.engine.guards.watched_head import Seen, WatchedHead

MIN_PREDICTIONS = 20  # that are judged together
MAX_TARGET_SHARE = 0.9  # of one class in a step: a batch of one image has 1 by itself
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


class ConstantPrediction:
    """Find a head that gives (nearly) always the same class, while the targets differ.

    Args:
        others: In (0, 1). All other classes together have at most this share of the predictions,
            and a tenth of what they have of the targets.
    """

    def __init__(self, others: float):
        self.others = others

    def judge(self, head: WatchedHead, seen: Seen, classes=None) -> Symptom | None:
        """Judge the sums of all steps; ``classes`` are the names of the classes, where known."""
        predicted, targets = seen.predicted, seen.targets
        if predicted.sum() < MIN_PREDICTIONS or targets.sum() < MIN_PREDICTIONS:
            return None
        answer, share = constant_share(predicted)
        target, target_share = constant_share(targets)
        if target_share > 1 - self.others:
            return Symptom(
                f'{target_share:.2%} of the targets of {head.name} are {_named(target, classes)}',
                TARGET_ADVICE,
            )
        advice = ADVICE if head.labelled else MASKED_ADVICE
        if self._is_constant(share, target_share):
            return Symptom(
                f'{head.name} answers {_named(answer, classes)} for {share:.2%} of '
                f'{predicted.sum():.0f} {head.unit}, while the most frequent target, '
                f'{_named(target, classes)}, has {target_share:.2%}',
                advice,
            )
        # The class may change from step to step, as it does where biases are all that is learned.
        share, target_share = (
            _share(top, counts)
            for top, counts in zip(seen.largest, (predicted, targets), strict=True)
        )
        if target_share < MAX_TARGET_SHARE and self._is_constant(share, target_share):
            return Symptom(
                f'{head.name} answers one class for {share:.2%} of the {head.unit} of a '
                f'step, another one in other steps, while the most frequent target of a step has '
                f'{target_share:.2%}',
                advice,
            )
        return None

    def _is_constant(self, share: float, target_share: float) -> bool:
        return 1 - share <= min(self.others, (1 - target_share) / 10)


def _share(top: Tensor, counts: Tensor) -> float:
    return float(top) / float(counts.sum())


def _named(index: int, classes) -> str:
    known = classes is not None and index < len(classes)
    return f'class {index} ({classes[index]})' if known else f'class {index}'


def constant_share(counts: Tensor) -> tuple[int, float]:
    """Return the most frequent class of (K,) and its share in [0, 1], 0 if nothing was counted."""
    total = float(counts.sum())
    index = int(counts.argmax())
    return index, float(counts[index]) / total if total else 0.0
