from collections.abc import Iterable

import torch
import torch.nn as nn
from torch import Tensor


def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill with Normal(0, std) truncated at one sigma, as BEiT draws every weight.

    What is left has a standard deviation of 0.54 * std: 0.0108 for std = 0.02
    (unilm beit/modeling_pretrain.py, ``trunc_normal_``).
    """
    return nn.init.trunc_normal_(tensor, std=std, a=-std, b=std)


def init_linear_and_norm(module: nn.Module, std: float = 0.02) -> None:
    """Draw truncated normal weights and set biases to 0, LayerNorms to 1 and 0.

    Made for ``Module.apply``.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        truncated_normal_(module.weight, std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)


def sincos_positions(grid: tuple[int, int], dims: int) -> Tensor:
    """Return sines and cosines of the rows and columns of a grid, (h*w, dims), as MoCo v3 has them.

    A quarter of the dimensions each has the sine and the cosine of the row, then of the column, at
    wavelengths from 2 pi to 20,000 pi patches. Dimensions that 4 does not divide end in zeros.
    """
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in grid)
    places = torch.stack([rows.repeat_interleave(grid[1]), columns.repeat(grid[0])], dim=1)
    quarter = dims // 4
    angles = places[..., None] / 10_000 ** (torch.arange(quarter) / quarter)  # (h*w, 2, quarter)
    found = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()
    return nn.functional.pad(found, (0, dims - found.shape[1]))


@torch.no_grad()
def divide_by_depth(blocks: Iterable[nn.Module], first: int = 1) -> None:
    """Divide the last weights of both branches of layer n by sqrt(2n), as BEiT does.

    Args:
        first: Number of the first of ``blocks``.
    """
    for layer, block in enumerate(blocks, start=first):
        block.attn.proj.weight /= (2 * layer) ** 0.5
        block.mlp.fc2.weight /= (2 * layer) ** 0.5
