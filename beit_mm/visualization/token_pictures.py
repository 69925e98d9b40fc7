"""What the tokens of a tokenizer look like, as uint8 RGB pictures (H, W, 3)."""

from collections.abc import Sequence

import numpy as np

from beit_mm.visualization.image_grid import grid, label

LABEL = 96  # pixels beside the rows of the atlas
GAP = 2
BAR, EMPTY = (31, 119, 180), 255


def to_rgb(images: np.ndarray, white: float = 1.0) -> np.ndarray:
    """(B, C, H, W) in [0, white] -> uint8 (B, H, W, 3): the first three channels, or the first."""
    channels = images[:, :3] if images.shape[1] >= 3 else images[:, :1].repeat(3, 1)
    return ((channels / white).clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def most_used(counts: np.ndarray, number: int) -> np.ndarray:
    """Counts (V,) -> at most ``number`` codes that are in use, the commonest first."""
    order = np.argsort(-counts, kind='stable')[:number]
    return order[counts[order] > 0]


def patches_of_code(images: np.ndarray, ids: np.ndarray, code: int) -> np.ndarray:
    """Images (B, H, W, 3), ids (B, h, w) -> the n patches (n, H/h, W/w, 3) that are ``code``."""
    size, (height, width) = len(images), ids.shape[1:]
    tall, wide = images.shape[1] // height, images.shape[2] // width
    patches = images.reshape(size, height, tall, width, wide, 3).swapaxes(2, 3)
    return patches[ids == code]


def code_atlas(
    images: np.ndarray, ids: np.ndarray, codes: Sequence[int], columns: int = 12, cell: int = 32
) -> np.ndarray:
    """A row of patches for each code, with the code and how often it occurs.

    Of a code with more than ``columns`` patches some are shown, evenly spaced through the images.
    Patches are enlarged, by a whole number, to about ``cell`` pixels.
    """
    rows, labels, zoom = [], [], 1
    for code in codes:
        patches = patches_of_code(images, ids, code)
        zoom = max(cell // max(patches.shape[1:3]), 1)
        shown = np.linspace(0, len(patches) - 1, min(columns, len(patches))).round().astype(int)
        blank = np.full(patches.shape[1:], 255, np.uint8)
        rows.append([*patches[shown], *[blank] * (columns - len(shown))])
        labels.append(f'{code}: {len(patches)}')
    picture = grid(rows, zoom=zoom, gap=GAP)
    strip = np.full((len(picture), LABEL, 3), 255, np.uint8)
    pitch = (len(picture) - GAP) // len(rows)
    for number, text in enumerate(labels):
        middle = GAP + number * pitch + (pitch - GAP) // 2
        words = label(text, LABEL)[: len(picture)]
        top = min(max(middle - len(words) // 2, 0), len(picture) - len(words))
        strip[top : top + len(words)] = np.minimum(strip[top : top + len(words)], words)
    return np.hstack([strip, picture])


def reconstruction_grid(
    images: np.ndarray, recons: np.ndarray, columns: int = 8, cell: int = 64
) -> np.ndarray:
    """Images and below them what their tokens say of them, both (B, H, W, 3)."""
    rows, blank = [], np.full_like(images[0], 255)
    for start in range(0, len(images), columns):
        for part in (images[start : start + columns], recons[start : start + columns]):
            rows.append([*part, *[blank] * (min(columns, len(images)) - len(part))])
    return grid(rows, zoom=max(cell // images.shape[2], 1), gap=GAP)


def bar_heights(counts: np.ndarray, height: int) -> np.ndarray:
    """Counts (V,) -> heights (V,) in pixels, the commonest code first and ``height`` high.

    Proportional to log(1 + count), so that a code that isn't used has none.
    """
    sizes = np.log1p(np.sort(counts)[::-1].astype(float))
    return (height * sizes / max(sizes[0], np.finfo(float).tiny)).round().astype(int)


def usage_histogram(counts: np.ndarray, width: int = 512, height: int = 160) -> np.ndarray:
    """Sorted counts of all codes on a logarithmic scale; the words above give the figures.

    A column of pixels shows the code at its place, so a large vocabulary is sampled evenly.
    """
    codes = np.arange(width) * len(counts) // width
    bars = bar_heights(counts, height)[codes]
    filled = np.arange(height, 0, -1)[:, None] <= bars
    plot = np.where(filled[..., None], np.uint8(BAR), np.uint8(EMPTY))
    used, most = int((counts > 0).sum()), int(counts.max())
    words = f'{used} of {len(counts)} codes used, 0 to {most} times (log scale)'
    return np.vstack([label(words, width), plot, np.full((GAP, width, 3), 160, np.uint8)])


def constant_ids(codes: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """(n, h, w): a grid of each code alone."""
    return np.broadcast_to(np.asarray(codes)[:, None, None], (len(codes), *size)).copy()


def swapped_ids(ids: np.ndarray, codes: Sequence[int], place: tuple[int, int]) -> np.ndarray:
    """ids (h, w) of an image -> (n, h, w), the one at ``place`` replaced by each code."""
    swapped = np.broadcast_to(ids, (len(codes), *ids.shape)).copy()
    swapped[:, place[0], place[1]] = codes
    return swapped


def code_traversal(
    codes: Sequence[int],
    constants: np.ndarray,
    original: np.ndarray,
    swaps: np.ndarray,
    cell: int = 64,
) -> np.ndarray:
    """What each code draws, a column for each, after that of the image without a swap.

    Rows: a grid of the code alone (``constants`` (n, H, W, 3)); the image with the code in one
    place (``swaps``); and how much each pixel has changed by that, twice as bright.
    """
    change = np.abs(swaps.astype(int) - original.astype(int)) * 2
    rows = [
        [np.full_like(original, 255), *constants],
        [original, *swaps],
        [np.zeros_like(original), *change.clip(0, 255).astype(np.uint8)],
    ]
    titles = ['image', *map(str, codes)]
    return grid(rows, titles, zoom=max(cell // original.shape[1], 1), gap=GAP)
