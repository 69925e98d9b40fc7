from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels
from beit_mm.visualization.figures.image_grid import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = 10  # of matplotlib's cycle
MOST_INSIDE = 5  # names of a legend inside the axes; the one of a single diagram is below then
Curve = tuple[Sequence[float], Sequence[float]]


def draw_curves(panels: Mapping[str, Mapping[str, Curve]], **options) -> np.ndarray:
    """Return :func:`curves_figure` as uint8 RGB (H, W, 3)."""
    return to_pixels(curves_figure(panels, **options))


def curves_figure(
    panels: Mapping[str, Mapping[str, Curve]],
    columns: int = 1,
    size: tuple[int, int] = (420, 260),
    x_label: str = 'iteration',
    levels: Mapping[str, Mapping[str, float]] | None = None,
) -> 'Figure':
    """Draw diagrams with named curves (x, y).

    A value that is not finite is a gap in its curve, and a point between two gaps a dot.

    Args:
        panels: Label of the y axis of a diagram -> name of a curve -> its points.
        columns: Diagrams side by side.
        size: Pixels (width, height) of a diagram.
        levels: Label of a diagram -> name and height of dashed lines, what chance reaches for
            example.
    """
    rows = -(-len(panels) // columns)
    figure = new_figure(size[0] * columns, size[1] * rows, layout='constrained')
    for number, (label, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, columns, number, xlabel=x_label)
        axes.set_ylabel(fill(label, 28), parse_math=False)
        lines = {}
        for name, (x, y) in curves.items():
            y = np.where(np.isfinite(y), y, np.nan)
            gaps = np.isnan([np.nan, *y, np.nan])
            alone = np.flatnonzero(gaps[:-2] & gaps[2:])
            style = '-' if len(lines) < COLORS else ':'
            (lines[name],) = axes.plot(x, y, linestyle=style, marker='.', markevery=alone.tolist())
        for name, height in (levels or {}).get(label, {}).items():
            lines[name] = axes.axhline(height, color=INK, linestyle='--', linewidth=1)
        if len(lines) > MOST_INSIDE and len(panels) == 1:
            below = dict(loc='outside lower center', ncols=2, fontsize=7)
            legend = figure.legend(lines.values(), lines, **below)
        elif len(lines) > 1:
            legend = axes.legend(lines.values(), lines)
        for text in legend.get_texts() if len(lines) > 1 else ():
            text.set_parse_math(False)
    return figure
