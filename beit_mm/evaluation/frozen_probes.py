"""What frozen features know of the classes: nearest neighbours and a linear probe."""

import math
from pathlib import Path

import cv2
import mmcv
import torch
import torch.nn.functional as F
from torch import Tensor

NEIGHBOURS = 20
PROBE_DECAY = 1e-3  # of the linear probe's weights, features standardised
PATCHES = 5000  # that are drawn of a data set where patches have the labels
CHUNK = 200  # images


def knn(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Votes of the 20 nearest neighbours by cosine, weighted by exp(cosine / 0.07).

    Args:
        train, val: Features (N, C) and (M, C).
        labels: (N,)

    Returns:
        Classes (M,)
    """
    train, labels_of = F.normalize(train, dim=1), F.one_hot(labels)
    found = []
    for part in F.normalize(val, dim=1).split(2000):
        cosines, index = (part @ train.T).topk(min(NEIGHBOURS, len(train)), dim=1)
        votes = labels_of[index] * (cosines / 0.07).exp()[..., None]
        found.append(votes.sum(1).argmax(1))
    return torch.cat(found)


@torch.enable_grad()
def linear_probe(train: Tensor, labels: Tensor, val: Tensor) -> Tensor:
    """Predictions (M,) of a logistic regression on standardised features, found by L-BFGS."""
    mean, std = train.mean(0), train.std(0).clamp(min=1e-6)
    train, val = (train - mean) / std, (val - mean) / std
    weight = train.new_zeros(train.shape[1], int(labels.max()) + 1, requires_grad=True)
    bias = train.new_zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn='strong_wolfe')

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(train @ weight + bias, labels)
        loss = loss + PROBE_DECAY * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (val @ weight + bias).argmax(1)


def accuracy(pred: Tensor, truth: Tensor) -> float:
    """In percent."""
    return 100 * (pred == truth).float().mean().item()


def patch_labels(mask: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """The commonest class of each patch.

    Args:
        mask: Class ids (H, W); those of ``num_classes`` or more are void.
        grid: Patches (h, w); H and W are multiples of them.

    Returns:
        (h * w,), row by row; -1 where half of a patch or more is void.
    """
    h, w = grid
    size = mask.shape[0] // h, mask.shape[1] // w
    patches = mask.long().view(h, size[0], w, size[1]).transpose(1, 2).reshape(h * w, -1)
    counts = F.one_hot(patches.clamp(max=num_classes), num_classes + 1).sum(1)
    labels = counts[:, :num_classes].argmax(1)
    return labels.masked_fill(2 * counts[:, num_classes] >= patches.shape[1], -1)


@torch.no_grad()
def labelled_features(
    model: torch.nn.Module,
    mean: Tensor,
    std: Tensor,
    rows: list[tuple[Path, int | Path]],
    num_classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Features of the last layer of ``model.backbone`` (BEiTEncoder, square images), on the CPU.

    Args:
        mean, std: (C, 1, 1), of the RGB values.
        rows: Images of one size with their class, or with the file of their mask.
        num_classes: Of the masks: the features are those of (at most 5000) patches. None: each
            image has one label, and its features are the mean of its patches.

    Returns:
        Features (N, C) and labels (N,)
    """
    device = next(model.parameters()).device
    feats, labels = [], []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        images = [mmcv.imread(str(file), channel_order='rgb') for file, _ in part]
        images = torch.stack([torch.from_numpy(image.copy()) for image in images])
        images = (images.permute(0, 3, 1, 2).float() - mean) / std
        patches = model.backbone(images.to(device))[-1][:, 1:].cpu()
        if num_classes is None:
            feats.append(patches.mean(1))
            labels += [label for _, label in part]
            continue
        grid = (math.isqrt(patches.shape[1]),) * 2
        feats.append(patches.flatten(0, 1))
        labels += [patch_labels(_mask(file), grid, num_classes) for _, file in part]
    feats = torch.cat(feats)
    if num_classes is None:
        return feats, torch.tensor(labels)
    labels = torch.cat(labels)
    known = (labels >= 0).nonzero().flatten()
    order = torch.randperm(len(known), generator=torch.Generator().manual_seed(0))
    chosen = known[order[:PATCHES]]
    return feats[chosen], labels[chosen]


def _mask(file: Path) -> Tensor:
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        found = 'no image' if mask is None else f'an image of {mask.shape[2]} channels'
        raise ValueError(f'{file}: {found}, expected a mask of one channel')
    return torch.from_numpy(mask)
