"""Features of each layer of an encoder, pooled over an image."""

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Backbone

POOLS = ('mean', 'cls', 'all')


def has_layers(backbone: nn.Module) -> bool:
    return isinstance(backbone, Backbone) and backbone.has_layers


def last_output(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the features (B, h, w, C) or (B, C), and the class token, of any backbone."""
    outputs = backbone(images)
    last = outputs[-1] if isinstance(outputs, list | tuple) else outputs
    if last.ndim == 4:
        return last.permute(0, 2, 3, 1), None
    if last.ndim == 3:  # (B, 1+N, C), as Backbone says
        return last[:, 1:, None], last[:, 0]
    return last, None


@torch.no_grad()
def layer_features(backbone: nn.Module, images: Tensor) -> list[dict[str, Tensor]]:
    """Return the features (B, C) of each layer by their pooling, of the last one where others are
    not given.

    ``mean`` is the mean of the patch tokens, ``cls`` the class token, and ``all`` the mean of all
    tokens. Without a class token there is ``mean`` alone.

    Args:
        images: (B, C, H, W), normalized.
    """
    if not has_layers(backbone):
        patches, first = last_output(backbone, images)
        patches = patches.flatten(1, 2) if patches.ndim == 4 else patches[:, None]
        return [_pooled(patches, first)]
    return [_pooled(tokens[:, 1:], tokens[:, 0]) for tokens in backbone.layer_outputs(images)]


def _pooled(patches: Tensor, first: Tensor | None) -> dict[str, Tensor]:
    found = dict(mean=patches.float().mean(1))
    if first is not None:
        tokens = torch.cat([first[:, None], patches], 1)
        found |= dict(cls=first.float(), all=tokens.float().mean(1))
    return found
