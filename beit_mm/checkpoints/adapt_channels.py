from collections.abc import Sequence

import torch
from torch import Tensor

from beit_mm.contracts.errors import UserError

METHODS = "'mean', 'tile', or for each channel the number of one in the checkpoint, 'mean' or None"


def adapt_patch_weight(
    weight: Tensor, channels: int, method: str | Sequence[int | str | None]
) -> Tensor:
    """Return the patch projection (C, old, p, p) for images with ``channels`` channels.

    ``mean`` gives every new channel the mean of the old ones and keeps the embedding of an image
    that has the same values in all channels. ``tile`` repeats the old ones in turn, as timm
    does for two and more. Both are scaled by old / new. A sequence says for each new channel which
    old one it takes: a number, 'mean', or None for zeros; nothing is scaled then.

    Raises:
        UserError: ``method`` is something else, or has another length than ``channels``.
    """
    old = weight.shape[1]
    mean = weight.mean(1)
    if method == 'mean':
        return torch.stack([mean] * channels, 1) * (old / channels)
    if method == 'tile':
        return torch.stack([weight[:, i % old] for i in range(channels)], 1) * (old / channels)
    if isinstance(method, str) or not isinstance(method, Sequence) or len(method) != channels:
        raise UserError(
            f'backbone.adapt_channels={method!r} for {channels} channels: expected {METHODS}'
        )
    parts = []
    for source in method:
        if source is None:
            parts.append(torch.zeros_like(mean))
        elif source == 'mean':
            parts.append(mean)
        elif isinstance(source, int) and 0 <= source < old:
            parts.append(weight[:, source])
        else:
            raise UserError(
                f'backbone.adapt_channels has {source!r}, but the checkpoint has channels 0 to '
                f'{old - 1}: expected {METHODS}'
            )
    return torch.stack(parts, dim=1)
