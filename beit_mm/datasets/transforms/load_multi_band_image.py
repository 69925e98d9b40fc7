import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import PurePath

import cv2
import numpy as np
from mmengine import fileio

from beit_mm.contracts import FileReader, UserError
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

DTYPES = ('uint8', 'uint16', 'int16', 'float16', 'float32', 'float64')
TIFF = ('.tif', '.tiff')
LARGE, MOST_UNPACKED = 2**28, 1200  # deflate makes files up to 1032 times smaller
PNG = b'\x89PNG\r\n\x1a\n'
GRAY_ALPHA = 4  # color type, the 26th byte of a PNG file (PNG specification, 11.2.1)


@TRANSFORMS.register_module()
class LoadMultiBandImage(FileReader, Transform):
    """Load an image with all its bands and its own bit depth.

    Reads img_path; writes img (H, W, C), img_shape and ori_shape. Values are those of the file:
    uint8, uint16, int16 or floating point. Nothing is scaled or converted to 8 bits. Bands keep
    the order of the file, so an RGB image is RGB, other than with OpenCV's loaders
    (``data_preprocessor.bgr_to_rgb`` and ``to_rgb`` stay False).

    Files are .npy arrays, TIFF, and all that OpenCV reads, 16-bit PNG among them. Pages, planes
    and samples of a TIFF are bands, in this order. Transparency is a band like any other.

    Args:
        channels: Bands that every image must have, after ``bands``. None takes what comes.
        bands: Which bands of the file to take, in this order, counted from 0.
        layout: Of three-dimensional .npy arrays: 'hwc' or 'chw'.
        backend_args: As in mmcv's LoadImageFromFile.

    Raises:
        FileNotFoundError: The file does not exist.
        UserError: It cannot be decoded, has other bands, another type or values that are not
            finite. The message names the file.
    """

    def __init__(
        self,
        channels: int | None = None,
        bands: Sequence[int] | None = None,
        layout: str = 'hwc',
        backend_args: dict | None = None,
    ):
        if layout not in ('hwc', 'chw'):
            raise UserError(f"LoadMultiBandImage.layout={layout!r}: expected 'hwc' or 'chw'")
        self.bands = None if bands is None else list(bands)
        if self.bands is not None and (not self.bands or min(self.bands) < 0):
            raise UserError(
                f'LoadMultiBandImage.bands={bands!r}: expected numbers of bands, counted from 0'
            )
        if channels is not None and self.bands is not None and channels != len(self.bands):
            raise UserError(
                f'LoadMultiBandImage.channels={channels}, but bands={self.bands} takes '
                f'{len(self.bands)}; set them equal or leave channels out'
            )
        self.channels = channels
        self.layout = layout
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        content = fileio.get(path, backend_args=self.backend_args)
        img = self._take_bands(self._decode(path, content), path)
        results['img'] = img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def _decode(self, path: str, content: bytes) -> np.ndarray:
        """Return the whole file as (H, W, C)."""
        suffix = PurePath(path).suffix.lower()
        if suffix == '.npy':
            img = read_npy(path, content)
            if img.ndim == 3 and self.layout == 'chw':
                img = img.transpose(1, 2, 0)
        elif suffix in TIFF:
            img = _read_tiff(path, content)
        else:
            img = _read_image(path, content)
        return img[..., None] if img.ndim == 2 else img

    def _take_bands(self, img: np.ndarray, path: str) -> np.ndarray:
        """Return the bands that are asked for, or raise a UserError about the file."""
        if img.ndim != 3 or 0 in img.shape:
            raise UserError(f'{path} has shape {img.shape}; expected (H, W) or (H, W, C)')
        if img.dtype.name not in DTYPES:
            raise UserError(
                f'{path} has values of type {img.dtype}; expected one of {", ".join(DTYPES)}'
            )
        count = img.shape[2]
        if self.bands is not None:
            if max(self.bands) >= count:
                raise UserError(
                    f'{path} has {count} bands, but LoadMultiBandImage.bands={self.bands}; '
                    f'take bands from 0 to {count - 1}'
                    + (", or set layout='chw'" if path.endswith('.npy') else '')
                )
            img = img[..., self.bands]
        elif self.channels not in (None, count):
            raise UserError(
                f'{path} has {count} bands, but LoadMultiBandImage.channels={self.channels}; '
                'correct channels, choose some with bands, or remove the file'
            )
        if img.dtype.kind == 'f' and not np.isfinite(img).all():
            wrong = int((~np.isfinite(img)).sum())
            raise UserError(
                f'{path}: {wrong} of {img.size} values are not finite; replace them by a number '
                'in the file'
            )
        return np.ascontiguousarray(img)


def read_npy(path: str, content: bytes) -> np.ndarray:
    """Return the array of a .npy file, or raise a UserError. Nothing pickled is read."""
    try:
        array = np.load(BytesIO(content), allow_pickle=False)
    except Exception as error:  # whatever a broken header makes of NumPy, a MemoryError included
        raise UserError(f'{path} is not a readable .npy array: {error}') from error
    if not isinstance(array, np.ndarray):
        raise UserError(f'{path} is an archive of arrays (.npz); save the one array with np.save')
    return array


def _read_image(path: str, content: bytes) -> np.ndarray:
    img = None
    try:
        if content:
            img = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:  # more pixels than OpenCV reads, for example
        raise UserError(f'{path}: OpenCV cannot read it: {error.err or error}') from error
    if img is None:
        raise UserError(
            f'{path} ({len(content)} bytes) is not an image that OpenCV can read; repair or remove '
            'it'
        )
    if content.startswith(PNG) and content[25] == GRAY_ALPHA:  # OpenCV: gray three times, alpha
        return img[..., [0, 3]]
    if img.ndim == 3 and img.shape[2] in (3, 4):  # OpenCV: blue first, alpha last
        img = img[..., [2, 1, 0, 3][: img.shape[2]]]
    return img


def _read_tiff(path: str, content: bytes) -> np.ndarray:
    """Return (H, W, C); every axis that is neither rows nor columns becomes bands."""
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            for series in file.series:
                if series.nbytes > max(LARGE, MOST_UNPACKED * len(content)):
                    raise UserError(f'{series.nbytes} bytes of pixels in {len(content)} bytes')
            # with sides of one pixel, which axes leaves out
            images = [
                (series.get_axes(False), series.asarray().reshape(series.get_shape(False)))
                for series in file.series
            ]
    except Exception as error:  # whatever a broken file makes of the parser
        advice = '; pip install imagecodecs' if 'imagecodecs' in str(error) else ''
        raise UserError(f'{path} is not a readable TIFF file: {error}{advice}') from error
    if len({(axes, img.shape, img.dtype) for axes, img in images}) != 1:
        raise UserError(
            f'{path} has {len(images)} images of different sizes or types; expected pages that are '
            'bands of one image'
        )
    axes = images[0][0]
    if not {'Y', 'X'} <= set(axes):
        raise UserError(f'{path} has no rows and columns of pixels (axes {axes})')
    img = np.stack([img for _, img in images])  # pages that were written one by one
    y, x = 1 + axes.index('Y'), 1 + axes.index('X')
    others = [axis for axis in range(img.ndim) if axis not in (y, x)]
    bands = math.prod(img.shape[axis] for axis in others)  # may be 0 in a damaged file
    return img.transpose(y, x, *others).reshape(img.shape[y], img.shape[x], bands)
