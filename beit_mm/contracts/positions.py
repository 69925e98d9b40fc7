"""Tables of relative positions and absolute embeddings: layout, resizing, index.

A grid is (h, w) patches. Models read these tables, and checkpoints are adapted to them.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts.errors import UserError

Grid = tuple[int, int]
Matrices = tuple[Tensor, Tensor]
CPU = torch.device('cpu')
TABLE = 'relative_position_bias_table'
INDEX = 'relative_position_index'
NUM_CLS_ENTRIES = 3  # class token to patches, patches to class token, class token to itself


def patch_grid(size: int | Sequence[int], patch_size: int, source: str) -> Grid:
    """Return the grid of images of ``size``, (H, W) or one number.

    Raises:
        UserError: The patch size does not divide it; ``source`` says whose size it is.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if height % patch_size or width % patch_size:
        raise UserError(
            f'{source} is {height} x {width} pixels (height x width), which '
            f'backbone.patch_size={patch_size} does not divide; resize, crop or pad to a '
            f'multiple of {patch_size}'
        )
    return height // patch_size, width // patch_size


def table_length(grid: Grid) -> int:
    """Return the entries of a grid's table: (2h-1)(2w-1) offsets, and three for [CLS]."""
    return (2 * grid[0] - 1) * (2 * grid[1] - 1) + NUM_CLS_ENTRIES


def square_grid(length: int) -> Grid | None:
    """Return the square grid whose table has ``length`` entries, None if there is none."""
    side = math.isqrt(max(length - NUM_CLS_ENTRIES, 0))
    if side * side != length - NUM_CLS_ENTRIES or side % 2 == 0:
        return None
    return (side + 1) // 2, (side + 1) // 2


def relative_position_index(grid: Grid, device: torch.device = CPU) -> Tensor:
    """Return (1 + N, 1 + N) entries of the table, [CLS] first; row = query, column = key."""
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


def resize_table(
    table: Tensor,
    source: Grid,
    target: Grid,
    method: str = 'geometric',
    matrices: Matrices | None = None,
) -> Tensor:
    """Resize a table (table_length(source), heads) for another grid, differentiably.

    Args:
        method: ``geometric`` is the original's method (a cubic spline over geometrically spaced
            offsets, for each axis), ``bicubic`` stretches all offsets alike. The three entries of
            [CLS] are kept.
        matrices: Of :func:`geometric_matrices`, where the caller has them already.
    """
    if source == target:
        return table
    device = 'cpu' if table.is_meta else table.device.type  # the meta device has no autocast
    with torch.autocast(device, enabled=False):  # never in half precision
        wide = table.to(torch.promote_types(table.dtype, torch.float32))
        offsets, cls_entries = wide[:-NUM_CLS_ENTRIES], wide[-NUM_CLS_ENTRIES:]
        image = offsets.unflatten(0, (2 * source[0] - 1, 2 * source[1] - 1)).permute(2, 0, 1)
        if method == 'geometric':
            rows, columns = (m.to(image) for m in matrices or geometric_matrices(source, target))
            image = rows @ image @ columns.T
        elif method == 'bicubic':
            size = [2 * t - 1 for t in target]
            image = F.interpolate(image[None], size, mode='bicubic', align_corners=False)[0]
        else:
            raise UserError(f"rel_pos_resize={method!r}: expected 'geometric' or 'bicubic'")
        return torch.cat([image.permute(1, 2, 0).flatten(0, 1), cls_entries]).to(table.dtype)


def resize_pos_embed(pos_embed: Tensor, source: Grid, target: Grid) -> Tensor:
    """Resize (1, 1 + N, C) bicubically for another grid; the class token's entry is kept."""
    if source == target:
        return pos_embed
    cls_entry, patches = pos_embed[:, :1], pos_embed[:, 1:]
    image = patches.transpose(1, 2).unflatten(2, source)
    image = F.interpolate(image, target, mode='bicubic', align_corners=False)
    return torch.cat([cls_entry, image.flatten(2).transpose(1, 2)], dim=1)


def geometric_matrices(source: Grid, target: Grid) -> Matrices:
    """Return the two matrices of ``geometric`` resizing, for rows and columns, in float64."""
    rows, columns = (
        cubic_spline_matrix(
            geometric_positions(s, t), torch.arange(-(t - 1), t, dtype=torch.float64, device=CPU)
        )
        for s, t in zip(source, target, strict=True)
    )
    return rows, columns


def geometric_positions(source: int, target: int) -> Tensor:
    """Place the 2*source-1 offsets of an axis among the offsets of an axis of ``target``.

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
    """Return (len(t), len(x)) weights that read the not-a-knot cubic spline through x at t.

    Outside of x the nearest value counts. Fewer than four points are interpolated linearly.
    """
    n = len(x)
    t = t.clamp(x[0], x[-1])
    if n == 1:
        return x.new_ones(len(t), 1)
    step = x.diff()
    eye = torch.eye(n, dtype=x.dtype, device=x.device)
    right = torch.searchsorted(x, t).clamp(1, n - 1)
    left = right - 1
    curvature = torch.zeros_like(eye)  # second derivatives at x, as a linear map of the values
    if n >= 4:
        system = torch.zeros_like(eye)
        rows = torch.arange(1, n - 1, device=x.device)
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
