"""Features of each layer of an encoder, pooled over an image."""

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Backbone

POOLS = ('mean', 'cls', 'all')


def has_layers(backbone: nn.Module) -> bool:
    return isinstance(backbone, Backbone) and backbone.has_layers


def split_tokens(tokens: Tensor, images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the patches (B, h, w, C) of tokens (B, 1+N, C), and the class token, or None.

    There is no class token where all tokens make a grid of square patches in the shape of the
    images (B, C, H, W): with one token more than a grid has, they never do.
    """
    height, width = images.shape[-2:]
    for first in (0, 1):
        number = tokens.shape[1] - first
        h = round((number * height / width) ** 0.5)
        if h and number % h == 0 and h * width == number // h * height:
            return tokens[:, first:].unflatten(1, (h, -1)), tokens[:, 0] if first else None
    return tokens[:, 1:, None], tokens[:, 0]


def layer_output(
    backbone: nn.Module, images: Tensor, layer: int = -1
) -> tuple[Tensor, Tensor | None]:
    """Return the features (B, h, w, C) of a layer, the last one without :func:`has_layers`, and
    the class token, if there is one, of any backbone.
    """
    if has_layers(backbone):
        return split_tokens(backbone.layer_tokens(images, layer), images)
    outputs = backbone(images)
    last = outputs[-1] if isinstance(outputs, list | tuple) else outputs
    if last.ndim == 3:
        return split_tokens(last, images)
    return (last.permute(0, 2, 3, 1) if last.ndim == 4 else last[:, None, None]), None


def join_tokens(patches: Tensor, first: Tensor | None) -> Tensor:
    """Return the tokens (B, 1+N, C), or (B, N, C), of which :func:`split_tokens` made these."""
    patches = patches.flatten(1, 2)
    return patches if first is None else torch.cat([first[:, None], patches], 1)


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
        return [_pooled(*layer_output(backbone, images))]
    return [_pooled(*split_tokens(tokens, images)) for tokens in backbone.layer_outputs(images)]


def _pooled(patches: Tensor, first: Tensor | None) -> dict[str, Tensor]:
    found = dict(mean=patches.float().mean((1, 2)))
    if first is not None:
        tokens = join_tokens(patches, first).float()
        found |= dict(cls=first.float(), all=tokens.mean(1))
    return found
