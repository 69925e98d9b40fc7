"""Antialiased resizing of one crop to one or two views, by Pillow or by torch."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

View = tuple[tuple[int, int], str]  # (height, width), filter
NAMES = ('bicubic', 'bilinear', 'box', 'hamming', 'lanczos', 'nearest')
FILTERS = {name: Image.Resampling[name.upper()] for name in NAMES}
# Those that torch resizes with antialiasing; lanczos from 2.13.
TORCH_FILTERS = ('bicubic', 'bilinear', *['lanczos'] * ('lanczos' in interpolate.__doc__))


def resize_views(img: np.ndarray, views: Sequence[View], by: str = 'pillow') -> list[np.ndarray]:
    """Resize (H, W) or (H, W, C) to each of ``views``; the dtype stays.

    Args:
        by: 'pillow' or 'torch'. torch takes uint8 images and TORCH_FILTERS; the rest is Pillow's.
    """
    resize = _resize_by_torch if by == 'torch' and img.dtype == np.uint8 else _resize_by_pillow
    first, *others = views
    if others == [first]:
        made = resize(_unflip(img), [first])
        return [*made, made[0].copy()]
    return resize(_unflip(img), views)


def _resize_by_torch(img: np.ndarray, views: Sequence[View]) -> list[np.ndarray]:
    planes = np.ascontiguousarray(img[..., None] if img.ndim == 2 else img)
    batch, made = torch.from_numpy(planes).permute(2, 0, 1)[None], []
    for size, name in views:
        if name in TORCH_FILTERS:
            resized = interpolate(batch, size, mode=name, antialias=True)
            made.append(resized[0].permute(1, 2, 0).numpy().reshape(*size, *img.shape[2:]))
        else:
            made += _resize_by_pillow(img, [(size, name)])
    return made


def _resize_by_pillow(img: np.ndarray, views: Sequence[View]) -> list[np.ndarray]:
    if img.dtype != np.uint8 or img.shape[2:] not in ((), (3,)):
        return [_resize_planes(img, *view) for view in views]
    mode = 'RGB' if img.shape[2:] else 'L'  # fromarray would look for it at length
    picture = Image.frombytes(mode, img.shape[1::-1], np.ascontiguousarray(img))
    return [np.array(picture.resize(size[::-1], FILTERS[name])) for size, name in views]


def _resize_planes(img: np.ndarray, size: tuple[int, int], name: str) -> np.ndarray:
    """Resize each channel by itself, in single precision where it is not uint8."""
    if img.ndim == 3:
        channels = [_resize_planes(img[..., c], size, name) for c in range(img.shape[2])]
        return np.stack(channels, axis=-1)
    plane = img if img.dtype == np.uint8 else img.astype(np.float32)
    # The crop is cut before: Pillow's `box=` would let the filter see pixels beyond it.
    resized = np.array(Image.fromarray(plane).resize(size[::-1], FILTERS[name]))
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
