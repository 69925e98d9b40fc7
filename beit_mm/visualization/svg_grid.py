"""Small images in one SVG picture: a text file, sharp at any zoom."""

import base64
from collections.abc import Sequence
from html import escape

import cv2
import numpy as np


def svg_grid(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    cell: int = 80,
    gap: int = 4,
    breaks: Sequence[int] = (),
) -> str:
    """Rows of uint8 RGB images (H, W, 3) of one size -> an SVG document.

    Args:
        titles: Above the columns.
        cell: Width of an image in the picture, in pixels.
        breaks: Columns that begin after a wider gap.
    """
    height, width = rows[0][0].shape[:2]
    tall, top = round(cell * height / width), 22 if titles else gap
    lefts = [
        gap + i * (cell + gap) + 4 * gap * sum(b <= i for b in breaks) for i in range(len(rows[0]))
    ]
    total = lefts[-1] + cell + gap, top + len(rows) * (tall + gap)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{total[0]}" height="{total[1]}" '
        f'viewBox="0 0 {total[0]} {total[1]}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for left, title in zip(lefts, titles, strict=False):
        parts.append(
            f'<text x="{left + cell / 2:g}" y="15" font-family="sans-serif" font-size="12" '
            f'fill="#444" text-anchor="middle">{escape(title)}</text>'
        )
    for number, row in enumerate(rows):
        for left, image in zip(lefts, row, strict=True):
            png = cv2.imencode('.png', image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
            parts.append(
                f'<image x="{left}" y="{top + number * (tall + gap)}" width="{cell}" '
                f'height="{tall}" style="image-rendering:pixelated" preserveAspectRatio="none" '
                f'href="data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"/>'
            )
    return '\n'.join([*parts, '</svg>']) + '\n'
