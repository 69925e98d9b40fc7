"""Figures of an exact size in pixels, drawn by matplotlib without its global state.

matplotlib is imported when the first figure is made, so that a training which draws nothing does
not load it.
"""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 100


def new_figure(width: int, height: int, **options) -> 'Figure':
    """Return an empty figure of ``width`` x ``height`` pixels.

    Args:
        options: Of ``matplotlib.figure.Figure``.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width / DPI, height / DPI), dpi=DPI, **options)


def to_pixels(figure: 'Figure') -> np.ndarray:
    """Draw ``figure`` and return it as uint8 RGB (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def to_svg(figure: 'Figure') -> str:
    """Draw ``figure`` as an SVG document with text as text; equal figures give equal documents."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({'svg.fonttype': 'none', 'svg.hashsalt': 'beit_mm'}):
        figure.savefig(file, format='svg', metadata=dict(Date=None))
    return file.getvalue()
