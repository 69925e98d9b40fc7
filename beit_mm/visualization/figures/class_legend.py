from collections.abc import Sequence

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels
from beit_mm.visualization.figures.image_grid import INK

LINE, WIDTH = 18, 130  # pixels


def class_legend(
    image: np.ndarray, entries: Sequence[tuple[str, Sequence[int]]], width: int = WIDTH
) -> np.ndarray:
    """Draw a legend to the right of an image and return uint8 RGB (H', W + ``width``, 3).

    The pixels of the image stay as they are; below it is white where the legend is longer.

    Args:
        image: uint8 RGB (H, W, 3).
        entries: Name and RGB color of each class.
    """
    height = max(image.shape[0], LINE * len(entries) + 4)
    figure = new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    for number, (name, color) in enumerate(entries):
        top = 4 + LINE * number
        color = [value / 255 for value in color]
        axes.add_patch(_square(6, top, LINE - 6, color))
        style = dict(color=INK, fontsize=8, va='center', parse_math=False)
        axes.text(LINE + 6, top + (LINE - 6) / 2, name, **style)
    found = np.full((height, image.shape[1] + width, 3), 255, np.uint8)
    found[: image.shape[0], : image.shape[1]] = image
    found[:, image.shape[1] :] = to_pixels(figure)
    return found


def _square(left: float, top: float, side: float, color):
    from matplotlib.patches import Rectangle

    return Rectangle((left, top), side, side, facecolor=color, edgecolor=INK, linewidth=0.5)
