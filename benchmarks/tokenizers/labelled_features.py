"""Features of images or of patches with their labels."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import UserError

PATCHES = 5000  # drawn from a data set in which patches have labels


def patch_labels(mask: Tensor, grid: tuple[int, int], num_classes: int) -> Tensor:
    """Find the commonest class of each patch.

    Args:
        mask: Class ids (H, W); those of ``num_classes`` or more are void.
        grid: Patches (h, w); H and W are multiples of them.

    Returns:
        (h * w,) row by row; -1 where half of a patch or more is void.
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
    batches: Iterable[Tensor],
    labels: Sequence[int | Path],
    num_classes: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute features of the last layer of ``model.backbone`` (BEiTEncoder), on the CPU.

    Args:
        batches: Normalized images (B, C, H, W).
        labels: The class of each image, or the file of its mask (H, W).
        num_classes: Number of classes in the masks; the features are those of at most 5000
            patches. None for one label per image; its features are the mean of its patches.

    Returns:
        Features (N, C) and labels (N,)
    """
    device = next(model.parameters()).device
    feats, known, start = [], [], 0
    for images in batches:
        part = labels[start : start + len(images)]
        start += len(images)
        patches = model.backbone(images.to(device))[-1][:, 1:].cpu()
        if num_classes is None:
            feats.append(patches.mean(1))
            continue
        height, width = images.shape[-2:]
        rows = round(math.sqrt(patches.shape[1] * height / width))
        grid = (rows, patches.shape[1] // rows)
        feats.append(patches.flatten(0, 1))
        known += [patch_labels(_mask(file, (height, width)), grid, num_classes) for file in part]
    feats = torch.cat(feats)
    if num_classes is None:
        return feats, torch.tensor(labels)
    known = torch.cat(known)
    places = (known >= 0).nonzero().flatten()
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))
    chosen = places[order[:PATCHES]]
    return feats[chosen], known[chosen]


def _mask(file: Path, size: tuple[int, int]) -> Tensor:
    mask = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    if mask is None or mask.ndim != 2:
        found = 'no image' if mask is None else f'an image of {mask.shape[2]} channels'
        raise UserError(f'{file}: {found}, expected a mask of one channel')
    if mask.shape != size:
        raise UserError(
            f'{file}: a mask of {mask.shape}, but the images are {size} when they are encoded; '
            'cut images and masks into tiles of that size (tools/dataset_converters/tiles.py)'
        )
    return torch.from_numpy(mask)
