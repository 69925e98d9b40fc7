"""Pictures of predictions: an image with text above, or beside the colors of its classes."""

import colorsys
from collections.abc import Sequence

import numpy as np

from beit_mm.visualization.figures.canvas import new_figure, to_pixels
from beit_mm.visualization.patches import segmentation_overlay

INK, RIGHT, WRONG = '#444444', '#1a7f37', '#c62828'
SMALLEST = 192  # pixels; smaller images are enlarged by a whole number
LINE = 18


def draw_classification(
    image: np.ndarray, truth: str, predicted: str, is_right: bool
) -> np.ndarray:
    """Return an image (H, W, 3), uint8 RGB, below its true and its predicted class."""
    lines = [(f'true: {truth}', INK)] if truth else []
    color = INK if not truth else RIGHT if is_right else WRONG
    return _draw([image], [*lines, (f'predicted: {predicted}', color)], [])


def draw_segmentation(
    image: np.ndarray, masks: dict[str, np.ndarray], classes: Sequence[str], palette: Sequence
) -> np.ndarray:
    """Return an image (H, W, 3), uint8 RGB, beside the colors of each mask, above a legend.

    Args:
        masks: Ids (H, W) by the title of their column. Ids without a class are clear.
        palette: RGB of each class; empty for colors of our own.
    """
    size = len(classes)
    colors = list(palette) if len(palette) >= size else _distinct(size)
    shown = {number for ids in masks.values() for number in np.unique(ids) if number < size}
    legend = [(classes[number], np.asarray(colors[number]) / 255) for number in sorted(shown)]
    padded = [(0, 0, 0), *colors[:size]]  # the first color of an overlay is clear
    ids = {title: np.where(ids < size, ids.astype(np.int64) + 1, 0) for title, ids in masks.items()}
    columns = [segmentation_overlay(image, mask, padded) for mask in ids.values()]
    return _draw([image, *columns], [('  |  '.join(['image', *masks]), INK)], legend)


def _draw(images: list[np.ndarray], lines: list[tuple], legend: list[tuple]) -> np.ndarray:
    height, width = images[0].shape[:2]
    zoom = max(1, -(-SMALLEST // max(height, width)))
    height, width = zoom * height, zoom * width
    longest = max(len(text) for text, _ in [*lines, *legend])
    column = 7 * max((len(text) for text, _ in legend), default=0) + 32
    per_row = max(1, len(images) * (width + 4) // column)
    rows = [legend[start : start + per_row] for start in range(0, len(legend), per_row)]
    top, bottom = len(lines) * LINE + 4, len(rows) * LINE + 4 * bool(rows)
    size = max(len(images) * (width + 4) - 4, 7 * longest + 32), top + height + bottom
    figure = new_figure(*size)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, size[0]), ylim=(size[1], 0))
    axes.set_axis_off()
    for number, image in enumerate(images):
        left = number * (width + 4)
        place = left, left + width, top + height, top
        axes.imshow(image, extent=place, interpolation='none', aspect='auto')
    axes.set(xlim=(0, size[0]), ylim=(size[1], 0))  # imshow has changed them
    style = dict(fontsize=9, va='center', parse_math=False)
    for number, (text, color) in enumerate(lines):
        axes.text(4, 2 + (number + 0.5) * LINE, text, color=color, **style)
    for number, row in enumerate(rows):
        for place, (text, color) in enumerate(row):
            x, y = 8 + column * place, top + height + 4 + (number + 0.5) * LINE
            axes.scatter([x], [y], s=40, marker='s', color=[color], linewidths=0)
            axes.text(x + 8, y, text, color=INK, **style)
    return to_pixels(figure)


def _distinct(number: int) -> list[tuple[int, int, int]]:
    """Return colors (R, G, B) of hues that differ as much as ``number`` hues can."""
    hues = (colorsys.hsv_to_rgb(n / max(number, 1), 0.8, 0.9) for n in range(number))
    return [tuple(round(255 * value) for value in hue) for hue in hues]
