from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure
from beit_mm.visualization.figures.image_grid import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CELL, MARGIN = 36, 110  # pixels


def confusion_figure(counts: np.ndarray, names: Sequence[str]) -> 'Figure':
    """Draw how often images of a class (row) are predicted as another (column).

    The color of a cell is its share of the row, and its number the count.

    Args:
        counts: (K, K), rows are true classes.
        names: Of the K classes; long ones are cut.
    """
    size = CELL * len(counts) + MARGIN
    figure = new_figure(size, size, layout='constrained')
    axes = figure.add_subplot(xlabel='predicted', ylabel='true')
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    short = [name if len(name) <= 12 else f'{name[:11]}…' for name in names]
    style = dict(fontsize=8, parse_math=False)
    axes.set_xticks(range(len(names)), short, rotation=90, **style)
    axes.set_yticks(range(len(names)), short, **style)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = 'white' if shares[row, column] > 0.5 else INK
            axes.text(
                column, row, str(int(count)), color=color, ha='center', va='center', fontsize=8
            )
    return figure
