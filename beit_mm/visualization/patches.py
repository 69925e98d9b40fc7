"""Images, patches and token ids as arrays, ready to be drawn. Images are uint8 RGB (H, W, 3)."""

from collections.abc import Sequence

import cv2
import numpy as np


def to_rgb(images: np.ndarray, white: float = 1.0) -> np.ndarray:
    """Return images (B, C, H, W) in [0, ``white``] as uint8 (B, H, W, 3).

    Shows the first three channels, or the first one as gray where there are fewer.
    """
    channels = images[:, :3] if images.shape[1] >= 3 else images[:, :1].repeat(3, 1)
    return ((channels / white).clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)


def stretched(values: np.ndarray) -> np.ndarray:
    """Return values with the least as 0 and the largest as 255."""
    low, high = float(values.min()), float(values.max())
    return (values.astype(np.float32) - low) / max(high - low, 1e-9) * 255


def tile(image: np.ndarray, side: int, most: float = 1.0) -> np.ndarray:
    """Fit an image (H, W, 3), uint8, into a white square, enlarged at most ``most`` times."""
    scale = min(side / max(image.shape[:2]), most)
    size = [max(round(scale * length), 1) for length in image.shape[1::-1]]
    method = cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA
    small = cv2.resize(np.ascontiguousarray(image), size, interpolation=method)
    square = np.full((side, side, 3), 255, np.uint8)
    square[: size[1], : size[0]] = small
    return square


def mask_patches(image: np.ndarray, mask: np.ndarray, value: float = 128) -> np.ndarray:
    """Return ``image`` with the patches of ``mask`` (h, w), True = masked, painted gray."""
    return np.where(_pixels(mask, image), image.dtype.type(value), image)


def paste_patches(image: np.ndarray, other: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return ``image`` with the patches of ``mask`` (h, w) taken from ``other``."""
    return np.where(_pixels(mask, image), other, image)


def segmentation_overlay(
    image: np.ndarray,
    ids: np.ndarray,
    palette: Sequence[Sequence[int]],
    opacity: float = 0.6,
    first: int = 1,
) -> np.ndarray:
    """Return ``image`` under the colors of ``ids`` (H, W); below ``first`` and unknown is clear."""
    visible = (ids >= first) & (ids < len(palette))
    colors = np.asarray(palette, np.float32)[np.where(visible, ids, 0)]
    mixed = (1 - opacity) * image + opacity * colors
    return np.where(visible[..., None], mixed.round(), image).astype(np.uint8)


def most_used(counts: np.ndarray, number: int) -> np.ndarray:
    """Return at most ``number`` codes with counts (V,) above 0, the commonest first."""
    order = np.argsort(-counts, kind='stable')[:number]
    return order[counts[order] > 0]


def patches_of_code(images: np.ndarray, ids: np.ndarray, code: int) -> np.ndarray:
    """Return the n patches (n, H/h, W/w, 3) of images (B, H, W, 3) whose id is ``code``.

    Args:
        ids: (B, h, w)
    """
    size, (height, width) = len(images), ids.shape[1:]
    tall, wide = images.shape[1] // height, images.shape[2] // width
    patches = images.reshape(size, height, tall, width, wide, 3).swapaxes(2, 3)
    return patches[ids == code]


def constant_ids(codes: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return ids (n, h, w): for each code a grid of that code alone."""
    return np.broadcast_to(np.asarray(codes)[:, None, None], (len(codes), *size)).copy()


def swapped_ids(ids: np.ndarray, codes: Sequence[int], place: tuple[int, int]) -> np.ndarray:
    """Return ids (n, h, w): those of an image (h, w) with each code in turn at ``place``."""
    swapped = np.broadcast_to(ids, (len(codes), *ids.shape)).copy()
    swapped[:, place[0], place[1]] = codes
    return swapped


def _pixels(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a mask of patches (h, w) as one of pixels (H, W, 1)."""
    size = image.shape[1::-1]
    pixels = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    return pixels[..., None].astype(bool)
