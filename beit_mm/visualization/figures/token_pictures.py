"""Pictures of what the tokens of a tokenizer look like."""

from collections.abc import Sequence

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels
from beit_mm.visualization.figures.image_grid import grid
from beit_mm.visualization.patches import patches_of_code

GAP = 2
BAR = '#1f77b4'


def code_atlas(
    images: np.ndarray, ids: np.ndarray, codes: Sequence[int], columns: int = 12, cell: int = 32
) -> np.ndarray:
    """Draw a row of patches for each code, with the code and how often it occurs.

    Of a code with more than ``columns`` patches some are shown, evenly spaced through the images.

    Args:
        images: uint8 RGB (B, H, W, 3).
        ids: (B, h, w)
        cell: Patches are enlarged, by a whole number, to about this many pixels.
    """
    rows, labels = [], []
    for code in codes:
        patches = patches_of_code(images, ids, code)
        shown = np.linspace(0, len(patches) - 1, min(columns, len(patches))).round().astype(int)
        blank = np.full(patches.shape[1:], 255, np.uint8)
        rows.append([*patches[shown], *[blank] * (columns - len(shown))])
        labels.append(f'{code}: {len(patches)}')
    return grid(rows, labels=labels, zoom=max(cell // max(blank.shape[:2]), 1), gap=GAP)


def reconstruction_grid(
    images: np.ndarray, recons: np.ndarray, columns: int = 8, cell: int = 64
) -> np.ndarray:
    """Draw images (B, H, W, 3) and below each what its tokens say of it."""
    rows, blank = [], np.full_like(images[0], 255)
    for start in range(0, len(images), columns):
        for part in (images[start : start + columns], recons[start : start + columns]):
            rows.append([*part, *[blank] * (min(columns, len(images)) - len(part))])
    return grid(rows, zoom=max(cell // images.shape[2], 1), gap=GAP)


def usage_histogram(counts: np.ndarray, width: int = 512, height: int = 220) -> np.ndarray:
    """Draw the counts (V,) of all codes as bars, the commonest code first.

    The height of a bar is proportional to log(1 + count), so that an unused code has none.
    """
    used, most = int((counts > 0).sum()), int(counts.max())
    figure = new_figure(width, height, layout='constrained')
    axes = figure.add_subplot(
        title=f'{used} of {len(counts)} codes used, 0 to {most} times',
        xlabel='code, the commonest first',
        ylabel='times (log scale)',
        xlim=(0, len(counts)),
    )
    axes.set_yscale('function', functions=(np.log1p, np.expm1))
    axes.set_yticks([0, *10 ** np.arange(len(str(most)))])
    axes.set_ylim(0, max(most, 1))
    axes.stairs(np.sort(counts)[::-1], fill=True, color=BAR, linewidth=0)
    return to_pixels(figure)


def code_traversal(
    codes: Sequence[int],
    constants: np.ndarray,
    original: np.ndarray,
    swaps: np.ndarray,
    cell: int = 64,
) -> np.ndarray:
    """Draw a column of images for each code, beside a first one for the image without a swap.

    The rows are the code alone, the image with the code in one place, and how much each pixel has
    changed by that, twice as bright.

    Args:
        constants: (n, H, W, 3), decoded from a grid of each code alone.
        original: (H, W, 3), decoded from the tokens of an image.
        swaps: (n, H, W, 3), decoded with each code in one place of the image.
    """
    change = np.abs(swaps.astype(int) - original.astype(int)) * 2
    rows = [
        [np.full_like(original, 255), *constants],
        [original, *swaps],
        [np.zeros_like(original), *change.clip(0, 255).astype(np.uint8)],
    ]
    titles = ['image', *map(str, codes)]
    return grid(rows, titles=titles, zoom=max(cell // original.shape[1], 1), gap=GAP)
