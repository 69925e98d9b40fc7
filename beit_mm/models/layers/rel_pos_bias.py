import math
from functools import lru_cache

import torch
import torch.nn as nn
from torch import Tensor

Grid = tuple[int, int]
CPU = torch.device('cpu')
NUM_CLS_ENTRIES = 3  # class token to patches, patches to class token, class token to itself


def table_length(grid: Grid) -> int:
    """Entries of the table of an (h, w) patch grid: (2h-1)(2w-1) offsets, and three for [CLS]."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + NUM_CLS_ENTRIES


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must be usable with gradients as well
def relative_position_index(grid: Grid, device: torch.device = CPU) -> Tensor:
    """(1 + N, 1 + N) entries of the table, [CLS] first; row = query, column = key."""
    h, w = grid
    ys, xs = torch.arange(h, device=device), torch.arange(w, device=device)
    y, x = torch.meshgrid(ys, xs, indexing='ij')
    dy = y.flatten()[:, None] - y.flatten() + h - 1  # 0 .. 2h-2
    dx = x.flatten()[:, None] - x.flatten() + w - 1
    offsets = (2 * h - 1) * (2 * w - 1)
    index = torch.empty(1 + h * w, 1 + h * w, dtype=torch.long, device=device)
    index[1:, 1:] = dy * (2 * w - 1) + dx
    index[0, :] = offsets
    index[:, 0] = offsets + 1
    index[0, 0] = offsets + 2
    return index


def geometric_positions(source: int, target: int) -> Tensor:
    """Where the 2*source-1 offsets of an axis stand among the offsets of a grid of ``target``.

    The distances from the center are the partial sums of 1, q, q^2, ...; q is found by bisection
    in [1.01, 1.5] so that the outermost one reaches target - 1. Near offsets so keep their
    meaning, and far ones are stretched (unilm beit/run_class_finetuning.py).
    """
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        ratio = (low + high) / 2
        reach = (1 - ratio ** (source - 1)) / (1 - ratio)
        low, high = (low, ratio) if reach > target - 1 else (ratio, high)
    steps = ratio ** torch.arange(source - 1, dtype=torch.float64, device=CPU)
    distances = steps.cumsum(0)
    return torch.cat([-distances.flip(0), distances.new_zeros(1), distances])


def cubic_spline_matrix(x: Tensor, t: Tensor) -> Tensor:
    """(len(t), len(x)) weights: the not-a-knot cubic spline through values at x, read at t.

    Outside of x the nearest value counts. Fewer than four points are interpolated linearly.
    """
    n = len(x)
    t = t.clamp(x[0], x[-1])
    if n == 1:
        return x.new_ones(len(t), 1)
    step = x.diff()
    eye = torch.eye(n, dtype=x.dtype)
    right = torch.searchsorted(x, t).clamp(1, n - 1)
    left = right - 1
    curvature = torch.zeros_like(eye)  # second derivatives at x, as a linear map of the values
    if n >= 4:
        system = torch.zeros_like(eye)
        rows = torch.arange(1, n - 1)
        system[rows, rows - 1] = step[:-1]
        system[rows, rows] = 2 * (step[:-1] + step[1:])
        system[rows, rows + 1] = step[1:]
        system[0, :3] = torch.stack([step[1], -(step[0] + step[1]), step[0]])
        system[-1, -3:] = torch.stack([step[-1], -(step[-2] + step[-1]), step[-2]])
        slopes = (eye[1:] - eye[:-1]) / step[:, None]
        sides = torch.zeros_like(eye)
        sides[1:-1] = 6 * (slopes[1:] - slopes[:-1])
        curvature = torch.linalg.solve(system, sides)
    h = step[left, None]
    a, b = (x[right] - t)[:, None], (t - x[left])[:, None]  # distances to the right and left knot
    return (
        eye[left] * a / h
        + eye[right] * b / h
        + curvature[left] * (a**3 / h - a * h) / 6
        + curvature[right] * (b**3 / h - b * h) / 6
    )


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _axis_matrix(source: int, target: int) -> Tensor:
    offsets = torch.arange(-(target - 1), target, dtype=torch.float64, device=CPU)
    return cubic_spline_matrix(geometric_positions(source, target), offsets)


def resize_table(table: Tensor, source: Grid, target: Grid, method: str = 'geometric') -> Tensor:
    """Table (table_length(source), heads) -> (table_length(target), heads), differentiable.

    ``geometric`` is the original's method (a cubic spline over geometrically spaced offsets, for
    each axis), ``bicubic`` stretches all offsets alike. The three entries of [CLS] are kept.
    """
    if source == target:
        return table
    with torch.autocast(table.device.type, enabled=False):  # never in half precision
        wide = table.to(torch.promote_types(table.dtype, torch.float32))
        return _resize(wide, source, target, method).to(table.dtype)


def _resize(table: Tensor, source: Grid, target: Grid, method: str) -> Tensor:
    offsets, cls_entries = table[:-NUM_CLS_ENTRIES], table[-NUM_CLS_ENTRIES:]
    image = offsets.unflatten(0, (2 * source[0] - 1, 2 * source[1] - 1)).permute(2, 0, 1)
    if method == 'geometric':
        rows, columns = (
            _axis_matrix(s, t).to(image.device, image.dtype)
            for s, t in zip(source, target, strict=True)
        )
        image = rows @ image @ columns.T
    elif method == 'bicubic':
        size = [2 * t - 1 for t in target]
        image = nn.functional.interpolate(image[None], size, mode='bicubic', align_corners=False)[0]
    else:
        raise ValueError(f"rel_pos_resize={method!r}: expected 'geometric' or 'bicubic'")
    return torch.cat([image.permute(1, 2, 0).flatten(0, 1), cls_entries])


def square_grid(length: int) -> Grid | None:
    """The square grid whose table has ``length`` entries, None if there is none."""
    side = math.isqrt(max(length - NUM_CLS_ENTRIES, 0))
    if side * side != length - NUM_CLS_ENTRIES or side % 2 == 0:
        return None
    return (side + 1) // 2, (side + 1) // 2


class RelPosBias(nn.Module):
    """Holds the table of a bias that all layers share; zero at the start."""

    def __init__(self, grid: Grid, num_heads: int):
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros(table_length(grid), num_heads))


def gather_bias(table: Tensor, grid: Grid) -> Tensor:
    """Table (table_length(grid), heads) -> attention bias (1, heads, 1 + N, 1 + N)."""
    index = relative_position_index(grid, table.device)
    bias = table[index.flatten()].unflatten(0, index.shape)
    return bias.permute(2, 0, 1)[None].contiguous()


def bias_of_table(table: Tensor, source: Grid, target: Grid, resize: str = 'geometric') -> Tensor:
    """Table (table_length(source), heads) -> attention bias (1, heads, 1 + N, 1 + N) of target."""
    return gather_bias(resize_table(table, source, target, resize), target)
