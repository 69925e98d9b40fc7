"""A batch for two models, how far their outputs are apart, and how far they may be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.positions import Grid

TOLERANCE = 1e-4  # of the largest output, in float32


def draw_batch(channels: int, size: Grid, grid: Grid = (1, 1)) -> tuple[Tensor, Tensor]:
    """Return random normalized images (2, C, H, W) and a mask (2, h, w), always the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, channels, *size, generator=generator)
    return x, torch.rand(2, *grid, generator=generator) < 0.4


def relative_difference(first: Tensor, second: Tensor) -> float:
    """Return the largest difference as a share of the largest value of ``second``.

    It is infinite where the shapes differ, and NaN where a value is.
    """
    if first.shape != second.shape:
        return float('inf')
    scale = second.abs().max().clamp(min=1e-6)
    return ((first - second).abs().max() / scale).item()


def compare(
    first: Mapping[str, Tensor],
    second: Mapping[str, Tensor],
    what: str,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the largest difference between outputs of the same name, see relative_difference.

    Args:
        what: What is compared, for the error.
        tolerance: Largest difference allowed.

    Raises:
        UserError: A difference is larger, or there is nothing to compare.
    """
    names = sorted(set(first) & set(second))
    if not names:
        raise UserError(f'{what}: no output that both have, so it was not proved')
    worst = 0.0
    for name in names:
        error = relative_difference(first[name], second[name])
        if not error <= tolerance:
            raise UserError(
                f'{what}: {name} differ by {error:.1e} of the largest value, more than '
                f'{tolerance:.0e}; nothing was written'
            )
        worst = max(worst, error)
    return worst


def share_of_others(first: Tensor, second: Tensor, what: str, most: float = 0.001) -> float:
    """Return the share of ids that differ; ties of two values may fall to either.

    Raises:
        UserError: It is larger than ``most``, or the shapes differ.
    """
    share = 1.0
    if first.shape == second.shape:
        share = (first != second).float().mean().item()
    if share > most:
        raise UserError(f'{what}: {share:.1%} of the ids are others; nothing was written')
    return share
