from collections.abc import Mapping, Sequence

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels

Curve = tuple[Sequence[float], Sequence[float]]


def draw_curves(
    panels: Mapping[str, Mapping[str, Curve]],
    columns: int = 1,
    size: tuple[int, int] = (420, 260),
    x_label: str = 'iteration',
) -> np.ndarray:
    """Draw diagrams with named curves (x, y) and return uint8 RGB (H, W, 3).

    A value that is not finite is a gap in its curve, and a point between two gaps a dot.

    Args:
        panels: Label of the y axis of a diagram -> name of a curve -> its points.
        columns: Diagrams side by side.
        size: Pixels (width, height) of a diagram.
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(size[0] * columns, size[1] * rows, layout='constrained')
    for number, (label, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number, xlabel=x_label, ylabel=label)
        for name, (x, y) in curves.items():
            y = np.where(np.isfinite(y), y, np.nan)
            gaps = np.isnan([np.nan, *y, np.nan])
            alone = np.flatnonzero(gaps[:-2] & gaps[2:])
            axes.plot(x, y, label=name, marker='.', markevery=alone.tolist())
        if len(curves) > 1:
            axes.legend()
    return to_pixels(figure)
