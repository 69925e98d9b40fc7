"""Classification with frozen features: nearest neighbors and a linear probe."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBORS = 20
PROBE_DECAY = 1e-3  # of the linear probe's weights, for standardized features


def knn(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Classify by the 20 nearest neighbors in cosine distance, weighted by exp(cosine / 0.07).

    Args:
        train, val: Features (N, C) and (M, C).
        labels: (N,)

    Returns:
        Classes (M,)
    """
    train, labels_of = F.normalize(train, dim=1), F.one_hot(labels)
    found = []
    for part in F.normalize(val, dim=1).split(2000):
        cosines, index = (part @ train.T).topk(min(NEIGHBORS, len(train)), dim=1)
        votes = labels_of[index] * (cosines / 0.07).exp()[..., None]
        found.append(votes.sum(1).argmax(1))
    return torch.cat(found)


@torch.enable_grad()
def linear_probe(train: Tensor, labels: Tensor, val: Tensor, max_iter: int = 200) -> Tensor:
    """Classify by a logistic regression on standardized features, fitted with L-BFGS.

    Arguments and result are those of :func:`knn`.
    """
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    train, val = (train - mean) / std, (val - mean) / std
    weight = train.new_zeros(train.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = train.new_zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=max_iter, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(train @ weight + bias, labels)
        loss = loss + PROBE_DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (val @ weight + bias).argmax(1)


def accuracy(pred: Tensor, truth: Tensor) -> float:
    """Return the share of equal classes, in percent."""
    return 100 * (pred == truth).float().mean().item()


def effective_rank(features: Tensor) -> float:
    """Return RankMe (Garrido et al. 2023): exp of the entropy of the singular values' shares.

    It is between 1, all features (N, C) on one line, and min(N, C); NaN for what is not finite.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp(min=1e-12) + 1e-7  # the paper's epsilon
    return torch.exp(-(shares * shares.log()).sum()).item()


def split_by_class(labels: Tensor, seed: int, each: int | None = None) -> tuple[Tensor, Tensor]:
    """Draw places of the samples to learn from and of those to classify, of each class by itself.

    Args:
        labels: (N,), of classes from 0.
        each: Samples of a class to learn from; None takes half of them.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    number = F.one_hot(labels[order]).cumsum(0).gather(1, labels[order, None])[:, 0]  # from 1
    learns = number % 2 == 1 if each is None else number <= each
    return order[learns], order[~learns]


def probe(
    features: Tensor, labels: Tensor, splits: int, shots: Sequence[int] = (), max_iter: int = 200
) -> dict[str, list[float]]:
    """Return accuracies in percent over splits of the samples in two, drawn with seeds from 0.

    Args:
        features: (N, C)
        labels: (N,), of classes from 0.
        shots: Samples of each class of few-shot classifications; the others are classified.

    Returns:
        ``knn``, ``linear`` and of each number ``N-shot``, which is a linear probe.
    """
    found = dict(knn=[], linear=[]) | {f'{number}-shot': [] for number in shots}
    for seed in range(splits):
        learn, ask = split_by_class(labels, seed)
        parts = features[learn], labels[learn], features[ask]
        found['knn'].append(accuracy(knn(*parts), labels[ask]))
        found['linear'].append(accuracy(linear_probe(*parts, max_iter), labels[ask]))
        for number in shots:
            learn, ask = split_by_class(labels, seed, number)
            classes = linear_probe(features[learn], labels[learn], features[ask], max_iter)
            found[f'{number}-shot'].append(accuracy(classes, labels[ask]))
    return found
