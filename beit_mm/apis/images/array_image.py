"""Images in memory, as the loader of the training would have read them from a file."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from beit_mm.apis.images.find_images import is_pil
from beit_mm.contracts import UserError
from beit_mm.datasets.tiff_file import hide_nodata
from beit_mm.datasets.transforms.load_multi_band_image import DTYPES, LoadMultiBandImage
from beit_mm.visualization import stretched, to_rgb


@dataclass
class ArrayFormat:
    """What the arrays of a training looked like after their loading.

    Attributes:
        channels: None takes any.
        white: The largest value of a pixel.
        is_8_bit: The loader gives uint8, whatever the file.
        is_bgr: The loader gives blue first; images in memory have red first.
        is_flat: Gray images are (H, W).
        loader: Of all bands; its nodata and window hold for arrays too.
    """

    channels: int | None
    white: float
    is_8_bit: bool
    is_bgr: bool
    is_flat: bool
    loader: LoadMultiBandImage | None = None

    def read(self, image: Any, name: str) -> np.ndarray:
        """Return a PIL image, an array (H, W[, C]) or a tensor ([C,] H, W) as the loader gives it.

        Raises:
            UserError: Channels or values are not those of the training.
        """
        array = self._to_array(image)
        if array.ndim == 2:
            array = array[..., None]
        self._check(array, image, name)
        if self.is_8_bit:
            array = array.round().clip(0, 255).astype(np.uint8)
        elif array.dtype.name not in DTYPES:
            array = array.astype(np.float32)
        if self.loader:
            array = self.loader.finish(hide_nodata(array, self.loader.nodata), name)
        if self.is_bgr:
            array = array[..., ::-1]
        if self.is_flat and array.shape[2] == 1:
            array = array[..., 0]
        return np.ascontiguousarray(array)

    def check_bits(self, array: np.ndarray, name: str) -> None:
        """Raise a UserError if these are 8 bits of an image, where the training had more."""
        is_window = self.loader and self.loader.window  # all values become some of it
        if array.dtype == np.uint8 and self.white > 255 and not is_window:
            raise UserError(
                f'{name} has values in 8 bits, but the model was trained with 0 to {self.white:g}; '
                'bring them to this range'
            )

    def to_rgb(self, loaded: np.ndarray) -> np.ndarray:
        """Return an image as uint8 RGB (H, W, 3), to be shown; what has not 8 bits is stretched."""
        planes = loaded[..., None] if loaded.ndim == 2 else loaded
        planes = planes[..., ::-1] if self.is_bgr else planes
        if not self.is_8_bit and planes.dtype != np.uint8:
            return to_rgb(stretched(planes).transpose(2, 0, 1)[None], 255)[0]
        return to_rgb(planes.transpose(2, 0, 1)[None], self.white)[0]

    def _to_array(self, image: Any) -> np.ndarray:
        if isinstance(image, Tensor):
            image = image.detach().cpu()
            image = (image.float() if image.dtype.is_floating_point else image).numpy()
            return image if image.ndim == 2 else image.transpose(1, 2, 0)
        if is_pil(image):
            from PIL import Image, ImageOps

            if self.is_8_bit and image.mode in ('I', 'F'):
                return np.asarray(image)
            if self.is_8_bit:
                if image.mode.startswith('I;16'):  # as OpenCV reads the file
                    image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
                mode = {1: 'L', 3: 'RGB'}.get(self.channels, image.mode)
                image = ImageOps.exif_transpose(image).convert(mode)
            return np.asarray(image)
        return image

    def _check(self, array: np.ndarray, image: Any, name: str) -> None:
        shape = tuple(array.shape)
        if 0 in shape:
            raise UserError(f'{name} is empty: {shape}')
        if self.channels not in (None, shape[2]):
            layout = '(C, H, W)' if isinstance(image, Tensor) else '(H, W, C)'
            given = tuple(image.shape) if isinstance(image, np.ndarray | Tensor) else shape
            raise UserError(
                f'{name} is {given} with {shape[2]} channels, but the model was trained with '
                f'{self.channels}; expected {layout} with C={self.channels}'
            )
        if array.dtype.kind not in 'uifb':
            raise UserError(f'{name} has values of type {array.dtype}; expected numbers')
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise UserError(f'{name} has values that are not finite; replace them by a number')
        if self.loader and self.loader.window:
            return  # all values become some of the window
        self.check_bits(array, name)
        is_share = self.white > 1 and array.dtype.kind == 'f' and 0 <= low < high <= 1
        is_wrong = high > 1.25 * self.white or (self.is_8_bit and low < -0.25 * self.white)
        if is_wrong or is_share and (array % 1 != 0).any():
            raise UserError(
                f'{name} has values from {low:g} to {high:g}, but the model was trained with 0 to '
                f'{self.white:g}; bring them to this range'
            )
