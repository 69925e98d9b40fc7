from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = 22  # pixels above the columns
LABELS = 96  # pixels beside the rows
INK = '#444444'


def grid(rows: Sequence[Sequence[np.ndarray]], **options) -> np.ndarray:
    """Return :func:`grid_figure` as uint8 RGB (H, W, 3)."""
    return to_pixels(grid_figure(rows, **options))


def grid_figure(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    labels: Sequence[str] = (),
    zoom: int = 1,
    gap: int = 4,
    breaks: Sequence[int] = (),
) -> 'Figure':
    """Draw images in rows and columns on white; a pixel of an image is a square of one color.

    Args:
        rows: uint8 RGB images (H, W, 3), all of one size.
        titles: Text above each column.
        labels: Text to the left of each row.
        zoom: Width of an image's pixel in the figure.
        gap: Pixels between the images.
        breaks: Columns that begin after a wider gap.
    """
    height, width = (zoom * side for side in rows[0][0].shape[:2])
    left = LABELS if labels else 0
    lefts = [
        left + gap + i * (width + gap) + 4 * gap * sum(b <= i for b in breaks)
        for i in range(len(rows[0]))
    ]
    tops = [gap + bool(titles) * TITLES + i * (height + gap) for i in range(len(rows))]
    size = lefts[-1] + width + gap, tops[-1] + height + gap
    figure = new_figure(*size)
    figure.suppressComposite = True  # each image keeps its own pixels in an SVG
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    for top, row in zip(tops, rows, strict=True):
        for left, image in zip(lefts, row, strict=True):
            place = left, left + width, top + height, top
            axes.imshow(image, extent=place, interpolation='none', aspect='auto')
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # imshow has changed them
    style = dict(color=INK, fontsize=9, ha='center', va='center', parse_math=False)
    for left, title in zip(lefts, titles, strict=False):
        axes.text(left + width / 2, gap + TITLES / 2, title, **style)
    for top, label in zip(tops, labels, strict=False):
        axes.text(LABELS / 2, top + height / 2, label, **style)
    return figure
