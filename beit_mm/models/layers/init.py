from collections.abc import Iterable

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.layers.joint_sum import joint_sum


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


@torch.no_grad()
def standardize_output_(conv: nn.Conv2d, output: Tensor, std: float) -> None:
    """Shift and scale ``conv`` so that each channel of its ``output`` (B, C, h, w) is (0, std).

    Mean and spread are those over the batches of all processes, which may differ in size. A channel
    that is the same everywhere, as with blank images, keeps its scale.
    """
    output = output.double()
    sums = torch.stack([output.sum((0, 2, 3)), output.square().sum((0, 2, 3))])
    number = sums.new_full((1, sums.shape[1]), output[:, 0].numel())
    total, squares, number = joint_sum(torch.cat([sums, number]))
    mean = total / number
    var = squares / number - mean.square()
    flat = var <= 1e-10 * (squares / number)  # rounding of float32 alone
    scale = torch.where(flat, 1.0, std / var.clamp(min=1e-30).sqrt())
    mean, scale = mean.to(conv.weight.dtype), scale.to(conv.weight.dtype)
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    conv.bias.sub_(mean).mul_(scale)
