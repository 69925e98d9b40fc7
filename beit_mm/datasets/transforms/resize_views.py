"""Antialiased resizing of one crop to one or two views, by Pillow or by torch."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

View = tuple[tuple[int, int], str]  # (height, width), filter
# Those that torch resizes with antialiasing; lanczos from 2.13.
TORCH_FILTERS = ('bicubic', 'bilinear', *['lanczos'] * ('lanczos' in interpolate.__doc__))


def resize_views(img: np.ndarray, views: Sequence[View], by: str = 'pillow') -> list[np.ndarray]:
    """Resize (H, W) or (H, W, C) to each of ``views``; the dtype stays.

    Args:
        by: 'pillow' or 'torch'. torch takes uint8 images and TORCH_FILTERS; the rest is Pillow's.
    """
    img = _unflip(img)
    by_pillow = _prepare_pillow(img)
    by_torch = _prepare_torch(img) if by == 'torch' and img.dtype == np.uint8 else by_pillow
    made = {}
    for size, name in views:
        if (size, name) not in made:
            resize = by_torch if name in TORCH_FILTERS else by_pillow
            made[size, name] = resize(size, name)
    first, *others = (made[view] for view in views)
    return [first, *(view.copy() if view is first else view for view in others)]


def _prepare_torch(img: np.ndarray) -> Callable[..., np.ndarray]:
    planes = np.ascontiguousarray(img[..., None] if img.ndim == 2 else img)
    batch = torch.from_numpy(planes).permute(2, 0, 1)[None]

    def resize(size, name):
        resized = interpolate(batch, size, mode=name, antialias=True)
        return resized[0].permute(1, 2, 0).numpy().reshape(*size, *img.shape[2:])

    return resize


def _prepare_pillow(img: np.ndarray) -> Callable[..., np.ndarray]:
    picture = None

    def resize(size, name):
        nonlocal picture
        if img.dtype == np.uint8 and (img.ndim == 2 or img.shape[2] == 3):
            if picture is None:  # by frombytes: fromarray finds the mode at length
                mode = 'L' if img.ndim == 2 else 'RGB'
                picture = Image.frombytes(mode, img.shape[1::-1], np.ascontiguousarray(img))
            return np.array(picture.resize(size[::-1], Image.Resampling[name.upper()]))
        return _resize_planes(img, size, name)

    return resize


def _resize_planes(img: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """Resize each channel by itself, in single precision where it is not uint8."""
    if img.ndim == 3:
        channels = [_resize_planes(img[..., c], size, name) for c in range(img.shape[2])]
        return np.stack(channels, axis=-1)
    plane = img if img.dtype == np.uint8 else img.astype(np.float32)
    # The crop is cut before: Pillow's `box=` would let the filter see pixels beyond it.
    resample = Image.Resampling[name.upper()]
    resized = np.array(Image.fromarray(plane).resize(size[::-1], resample))
    if np.issubdtype(img.dtype, np.integer):
        limits = np.iinfo(img.dtype)
        resized = resized.round().clip(limits.min, limits.max)
    return resized.astype(img.dtype)


def _unflip(img: np.ndarray) -> np.ndarray:
    """Return a mirrored image of 8-bit colors without the strides that NumPy copies slowly."""
    is_color = img.dtype == np.uint8 and img.ndim == 3 and img.shape[2] == 3
    if is_color and img.strides[1] < 0 < img.strides[0]:
        return cv2.flip(img[:, ::-1], 1)
    return img
