import math

from torch import Tensor


def chance_of(counts: Tensor, weights: Tensor | None = None) -> float:
    """Cross-entropy in nats of the best prediction that is the same for all targets.

    ``counts`` (K,) are the targets' masses, of smoothed or mixed labels too. The mean
    cross-entropy with one prediction p is that of their mean q with p, so it is the least for
    p = q: the entropy of q. With ``weights`` (K,) of the classes, of a loss that is divided by
    the weights' sum, q is proportional to counts * weights.

    Few targets look less spread than they are: the bias of Miller and Madow (1955),
    (classes seen - 1) / 2n, is added, and with less than five for each class it is log K. So it
    is rather too high than too low.
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
    """The most frequent class of (K,) and its share in [0, 1]; 0 if nothing was counted."""
    total = float(counts.sum())
    index = int(counts.argmax())
    return index, float(counts[index]) / total if total else 0.0
