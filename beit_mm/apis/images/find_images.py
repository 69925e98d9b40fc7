"""Files, folders, patterns and arrays as one list of single images."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import image_folder

EXTENSIONS = (*image_folder.IMAGE_EXTENSIONS, '.npy')


def find_images(images: Any) -> tuple[list[tuple[str, Any]], bool]:
    """Return (name, image) of each image, and whether exactly one was asked for.

    Args:
        images: A file, a folder (all images below it, sorted), a pattern such as ``a/**/*.png``,
            a PIL image, an array (H, W), (H, W, C) or (N, H, W, C), a tensor (H, W), (C, H, W) or
            (N, C, H, W), or an iterable of these.

    Returns:
        An image is a path as a string, a PIL image, an array or a tensor. Those without a file are
        named by their number.

    Raises:
        MissingFileError: There is no such file, or no file of such a pattern.
        UserError: It is of another kind, or there is no image at all.
    """
    found = [*_walk(images)]
    if not found:
        raise UserError('There are no images; give a file, a folder, a pattern or arrays')
    is_one = len(found) == 1 and not isinstance(images, list | tuple)
    if isinstance(images, str | os.PathLike):
        is_one = is_one and Path(images).expanduser().is_file()
    named = [
        (image if isinstance(image, str) else f'image {number}', image)
        for number, image in enumerate(found)
    ]
    return named, is_one


def _walk(images: Any) -> Iterable[Any]:
    if isinstance(images, str | os.PathLike):
        yield from _paths(os.path.expanduser(os.fspath(images)))
    elif isinstance(images, np.ndarray | Tensor):
        if images.ndim not in (2, 3, 4):
            kind = '(N, H, W, C)' if isinstance(images, np.ndarray) else '(N, C, H, W)'
            raise UserError(
                f'An array of shape {tuple(images.shape)} is no image; expected 2 to 4 axes, '
                f'{kind} for several'
            )
        yield from images if images.ndim == 4 else [images]
    elif is_pil(images):
        yield images
    elif isinstance(images, Iterable) and not isinstance(images, bytes | dict):
        for image in images:
            yield from _walk(image)
    else:
        raise UserError(
            f'{type(images).__name__} is no image; expected a path, a folder, a pattern, a PIL '
            'image, an array, a tensor, or a list of these'
        )


def _paths(text: str) -> Iterable[str]:
    if os.path.isfile(text) or os.path.isdir(text):
        yield from image_folder.find_images(text, EXTENSIONS)
    elif glob.has_magic(text):
        root = text
        while root and not os.path.isdir(root):
            root = os.path.dirname(root)
        pattern = glob.escape(root) + text[len(root) :]  # a folder may have brackets in its name
        names = sorted(name for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
        if not names:
            raise MissingFileError(f'No file matches {text!r} (looked in {Path.cwd()})')
        yield from names
    else:
        raise MissingFileError(f'There is no image or folder {text!r} (looked in {Path.cwd()})')


def is_pil(image: Any) -> bool:
    """Return whether this is an image of Pillow, which is not imported for the question."""
    return any(cls.__module__.startswith('PIL.') for cls in type(image).__mro__)
