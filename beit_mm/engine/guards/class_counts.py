import math

from torch import Tensor


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


def constant_share(counts: Tensor) -> tuple[int, float]:
    """Return the most frequent class of (K,) and its share in [0, 1], 0 if nothing was counted."""
    total = float(counts.sum())
    index = int(counts.argmax())
    return index, float(counts[index]) / total if total else 0.0
