import math

import torch
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.engine.guards.guard_hook import Symptom
from beit_mm.engine.guards.watched_head import Seen, WatchedHead

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


class UnigramLoss(TrainingState):
    """Find a loss that is no better than the unigram entropy.

    It is the cross-entropy of the best prediction that is the same for all inputs: the entropy
    of the targets, of labels as the loss smooths, mixes and weights them. Targets are counted since
    the beginning, the loss since the last judgment.

    Args:
        min_gap: The loss has to be below (1 - min_gap) times the unigram entropy.
    """

    resumed = ('masses',)

    def __init__(self, min_gap: float):
        self.min_gap = min_gap
        self.masses: Tensor | None = None  # (2, K), of all judgments

    def judge(self, head: WatchedHead, seen: Seen, begin: int) -> Symptom | None:
        """Judge the sums of all steps since the last judgment; nothing before ``begin`` counts."""
        if self.masses is None or self.masses.shape != seen.masses.shape:
            self.masses = torch.zeros_like(seen.masses)
        self.masses += seen.masses
        masses, weighted = self.masses
        weights = weighted / masses.clamp(min=1e-12)
        entropy = unigram_entropy(masses, weights) if masses.sum() else 0.0
        total, divisor = seen.loss.tolist()
        loss = total / divisor if divisor else 0.0
        if entropy < 1e-3 or loss < (1 - self.min_gap) * entropy:  # or there is nothing to choose
            return None
        return Symptom(
            f'the cross-entropy of {head.name} is {loss:.4g}, and the unigram entropy (always '
            f'the same prediction, the best one) is {entropy:.4g}, after a warm-up and grace of '
            f'{begin} iterations',
            ADVICE if head.labelled else MASKED_ADVICE,
            loss / entropy,
        )


def unigram_entropy(counts: Tensor, weights: Tensor | None = None) -> float:
    """Return the cross-entropy in nats of the best prediction that is the same for all targets.

    The mean cross-entropy of targets with one prediction p is that of their mean q with p. It is
    least for p = q: the entropy of q.

    Few targets look less spread than they are. The bias of Miller and Madow (1955),
    (classes seen - 1) / 2n, is added, and with less than five targets for each class seen the
    result is log K. So it is rather too high than too low.

    Args:
        counts: Masses (K,) of the targets, of smoothed or mixed labels too.
        weights: Weights (K,) of the classes in a loss that is divided by the weights' sum; q is
            then proportional to counts * weights.
    """
    counts = counts.double().cpu()
    number, seen = float(counts.sum()), int((counts > 0).sum())
    if number < 5 * seen:
        return math.log(len(counts))
    shares = counts if weights is None else counts * weights.double().cpu()
    shares = shares / shares.sum()
    entropy = -float((shares * shares.clamp(min=1e-300).log()).sum())
    return min(entropy + (seen - 1) / (2 * number), math.log(len(counts)))
