"""Check that two state dicts compute the same on a random batch."""

import re

import torch
from torch import Tensor

from beit_mm.apis.export.proof import TOLERANCE, compare, draw_batch
from beit_mm.apis.export.sizes import POSITIONS, Sizes
from beit_mm.checkpoints import LAYOUTS, OURS, task_of
from beit_mm.cli.convert_references import compute_outputs

HEAD = re.compile(r'(head|decode_head|auxiliary_head)\.')


def line_of(
    first: dict[str, Tensor], second: dict[str, Tensor], what: str, tolerance: float = TOLERANCE
) -> str:
    """Return a line about the largest difference; raise what :func:`compare` raises."""
    worst = compare(first, second, what, tolerance)
    names = ' and '.join(sorted(set(first) & set(second)))
    return f'{what}: equal {names} (differences up to {worst:.0e} of the largest)'


def prove(
    layout: str, weights: dict[str, Tensor], ours: dict[str, Tensor], sizes: Sizes, what: str
) -> str:
    """Compare what ``weights`` compute in the library of ``layout`` with what ours compute.

    Where that library is not installed, the original's steps take its place.
    """
    x, mask = draw_batch(sizes.channels, sizes.image, sizes.grid)
    own = compute_outputs(OURS, ours, sizes, x, mask)
    theirs = None if layout == OURS else compute_outputs(layout, weights, sizes, x, mask)
    if theirs is None:  # its library is not installed, or it is ours
        plain = LAYOUTS['unilm'].from_ours(ours, task_of(ours), sizes.grid).result
        theirs = compute_outputs('unilm', plain, sizes, x, mask)
        what += " (by the original's steps)"
    line = line_of(theirs, own, what)
    if 'logits' in theirs and 'logits' in own or not any(map(HEAD.match, ours)):
        return line
    if 'head.fc.weight' in ours and 'neck.norm.weight' not in ours:
        return f'{line}; logits not proved, as no tensor says what the head pools'
    return f'{line}; logits not proved, as the decoder or neck before them is not run'


def prove_resized(
    source: dict[str, Tensor], old: Sizes, resized: dict[str, Tensor], new: Sizes
) -> str:
    """Compare with the source, which interpolates its positions while it runs on the new size."""
    x, mask = draw_batch(new.channels, new.image, new.grid)
    precision = max(
        (torch.finfo(t.dtype).eps for n, t in resized.items() if n.endswith(POSITIONS)), default=0
    )
    return line_of(
        compute_outputs(OURS, source, old, x, mask),
        compute_outputs(OURS, resized, new, x, mask),
        f'source at {new.image[0]} x {new.image[1]} pixels and resized',
        max(TOLERANCE, 8 * precision),  # positions are written in the precision of the source
    )


def prove_target(
    layout: str, weights: dict[str, Tensor], ours: dict[str, Tensor], sizes: Sizes, task: str
) -> str:
    """Compare the result with ours, without a head that was left behind."""
    kept = ours
    if task != task_of(ours) or layout in ('timm', 'mmseg', 'unilm_seg') and task == 'pretrain':
        kept = {name: tensor for name, tensor in ours.items() if name.startswith('backbone.')}
    return prove(layout, weights, kept, sizes, f'beit_mm and target ({layout})')
