import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from beit_mm.apis.images.array_image import ArrayFormat
from beit_mm.contracts import UserError


@dataclass
class LoadedImage:
    """An image that is ready for the preprocessor, or why it is not.

    Attributes:
        index: Its place among all images of a call.
        inputs: (C, H, W), of the values of the file.
        token_inputs: The second view (C, H', W') where the pipeline makes one.
        meta: ``ori_shape``, ``img_shape`` and other facts that the transforms leave.
        pixels: The whole image as it was loaded, uint8 RGB (H, W, 3), where it is asked for.
        error: Why it cannot be used.
    """

    name: str
    index: int
    inputs: Tensor | None = None
    token_inputs: Tensor | None = None
    meta: dict = field(default_factory=dict)
    pixels: np.ndarray | None = None
    error: str | None = None

    @property
    def shapes(self) -> tuple:
        """Return what has to be equal in a batch."""
        second = None if self.token_inputs is None else self.token_inputs.shape
        return self.inputs.shape, second


class ImageReader(Dataset):
    """Reads images, from files or memory, by the transforms of a training.

    Args:
        images: Names and images, see ``find_images``.
        transforms: Of the description, beginning with the loader.
        arrays: How images in memory become what the loader gives.
        keep_pixels: Return the whole image too.
        multiple: Pixels that divide the sides of an input; None takes any.
        fit: Brings an image to the size of the model where ``multiple`` does not divide it; without
            it the center is taken.
    """

    def __init__(
        self,
        images: Sequence[tuple[str, Any]],
        transforms: Sequence[Callable],
        arrays: ArrayFormat,
        keep_pixels: bool = False,
        multiple: int | None = None,
        fit: Callable | None = None,
    ):
        self.images = images
        self.loader, self.transforms = transforms[0], transforms[1:]
        self.arrays = arrays
        self.keep_pixels = keep_pixels
        self.multiple = multiple
        self.fit = fit

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> LoadedImage:
        name, image = self.images[index]
        try:
            return self._read(index, name, image)
        except MemoryError:
            raise
        except UserError as error:
            message = str(error)
        except Exception as error:  # whatever broken bytes make of a decoder
            message = f'{type(error).__name__}: {error}'.strip()
        return LoadedImage(name, index, error=message if name in message else f'{name}: {message}')

    def _read(self, index: int, name: str, image: Any) -> LoadedImage:
        if isinstance(image, str):
            results = self._load(image)
        else:
            array = self.arrays.read(image, name)
            results = dict(img=array, img_shape=array.shape[:2], ori_shape=array.shape[:2])
        self._check_channels(results['img'], name)
        pixels = self.arrays.to_rgb(results['img']) if self.keep_pixels else None
        for transform in self.transforms:
            results = transform(results)
            if results is None:
                raise UserError(f'{name}: {type(transform).__name__} returned nothing')
        if self.multiple and any(side % self.multiple for side in results['img'].shape[:2]):
            results = self._fitted(results, name)
        img = results.pop('img')
        second = results.pop('token_img', None)
        results['img_shape'] = img.shape[:2]
        return LoadedImage(
            name,
            index,
            to_chw(img),
            None if second is None else to_chw(second),
            {key: value for key, value in results.items() if key != 'gt_seg_map'},
            pixels,
        )

    def _load(self, path: str) -> dict:
        try:
            results = self.loader(dict(img_path=path))
        except (UserError, OSError, MemoryError):
            raise
        except Exception:  # whatever broken bytes make of a decoder
            results = None
        if results is None or results.get('img') is None:
            size = os.path.getsize(path)
            raise UserError(
                f'{path} ({size} bytes) is not an image that can be read; repair or remove it'
            )
        self.arrays.check_bits(results['img'], path)
        return results

    def _fitted(self, results: dict, name: str) -> dict:
        if self.fit is not None:
            return self.fit(results)
        sides = results['img'].shape[:2]
        if min(sides) < self.multiple:
            raise UserError(
                f'{name} is {sides[0]} x {sides[1]} pixels (height x width), but a patch has '
                f'{self.multiple}; resize it'
            )
        height, width = (slice(s % self.multiple // 2, None) for s in sides)
        img = results['img'][height, width]
        height, width = (slice(s // self.multiple * self.multiple) for s in sides)
        return dict(results, img=img[height, width])

    def _check_channels(self, img: np.ndarray, name: str) -> None:
        channels = 1 if img.ndim == 2 else img.shape[2]
        if self.arrays.channels not in (None, channels):
            raise UserError(
                f'{name} has {channels} channels, but the model was trained with '
                f'{self.arrays.channels}'
            )


def to_chw(img: np.ndarray) -> Tensor:
    """Turn (H, W) into (1, H, W), and (H, W, C) into (C, H, W); uint8 stays, others are float32."""
    if img.dtype != np.uint8:
        img = img.astype(np.float32)
    planes = img[None] if img.ndim == 2 else img.transpose(2, 0, 1)
    return torch.from_numpy(np.array(planes, order='C'))
