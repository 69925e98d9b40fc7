"""Pictures as uint8 RGB arrays (H, W, 3)."""

from collections.abc import Sequence

import cv2
import numpy as np


def label(text: str, width: int, height: int = 22) -> np.ndarray:
    """``text`` in dark gray, centerd on a white strip (height, width, 3)."""
    strip = np.full((height, width, 3), 255, np.uint8)
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, 0.42
    text_width = cv2.getTextSize(text, font, scale, 1)[0][0]
    origin = (max((width - text_width) // 2, 0), height - 7)
    return cv2.putText(strip, text, origin, font, scale, (60, 60, 60), 1, cv2.LINE_AA)


def grid(
    rows: Sequence[Sequence[np.ndarray]], titles: Sequence[str] = (), zoom: int = 1, gap: int = 4
) -> np.ndarray:
    """Rows of images of one size -> one picture; ``titles`` stand above the columns."""
    height, width = rows[0][0].shape[:2]
    height, width = height * zoom, width * zoom
    columns = len(rows[0])
    picture = [
        np.full((gap, columns * (width + gap) + gap, 3), 255, np.uint8),
    ]
    if titles:
        strips = [np.hstack([label(t, width), _white(22, gap)]) for t in titles]
        picture.append(np.hstack([_white(22, gap), *strips]))
    for row in rows:
        cells = [cv2.resize(i, (width, height), interpolation=cv2.INTER_NEAREST) for i in row]
        line = np.hstack([part for cell in cells for part in (_white(height, gap), cell)])
        picture += [np.hstack([line, _white(height, gap)]), picture[0]]
    return np.vstack(picture)


def mask_patches(image: np.ndarray, mask: np.ndarray, value: int = 128) -> np.ndarray:
    """Image (H, W, 3) with the patches of ``mask`` (h, w), True = masked, painted gray."""
    return np.where(_pixels(mask, image), np.uint8(value), image)


def paste_patches(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Image (H, W, 3) with the patches of ``mask`` (h, w) taken from ``other``."""
    return np.where(_pixels(mask, image), other, image)


def segmentation_overlay(
    image: np.ndarray, ids: np.ndarray, palette: Sequence[Sequence[int]], opacity: float = 0.6
) -> np.ndarray:
    """Image (H, W, 3) under the colors of ``ids`` (H, W); id 0 and unknown ids are clear."""
    visible = (ids > 0) & (ids < len(palette))
    colors = np.asarray(palette, np.float32)[np.where(visible, ids, 0)]
    mixed = (1 - opacity) * image + opacity * colors
    return np.where(visible[..., None], mixed.round(), image).astype(np.uint8)


def _pixels(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(h, w) patches -> (H, W, 1) pixels."""
    size = image.shape[1::-1]
    pixels = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return pixels[..., None].astype(bool)


def _white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), 255, np.uint8)
