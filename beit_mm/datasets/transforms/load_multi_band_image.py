from collections.abc import Sequence
from io import BytesIO
from pathlib import PurePath

import cv2
import numpy as np
from mmengine import fileio

from beit_mm.contracts import FileReader, UserError, check_choice
from beit_mm.datasets.dicom_file import read_dicom
from beit_mm.datasets.image_files import (
    ImageTooLargeError,
    UnknownSizeError,
    advise_package,
    check_pixels,
    open_image,
)
from beit_mm.datasets.tiff_file import hide_nodata, read_tiff
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

DTYPES = ('uint8', 'uint16', 'int16', 'float16', 'float32', 'float64')
TIFF, DICOM = ('.tif', '.tiff'), ('.dcm', '.dicom')
PNG = b'\x89PNG\r\n\x1a\n'
GRAY_ALPHA = 4  # color type, the 26th byte of a PNG file (PNG specification, 11.2.1)


@TRANSFORMS.register_module()
class LoadMultiBandImage(FileReader, Transform):
    """Load an image with all its bands and its own bit depth.

    Reads img_path; writes img (H, W, C), img_shape, ori_shape, and missing (H, W, C) where pixels
    have no data. Values are those of the file: uint8, uint16, int16 or floating point. Nothing is
    scaled or converted to 8 bits. Bands keep the order of the file, so an RGB image is RGB, other
    than with OpenCV's loaders (``data_preprocessor.bgr_to_rgb`` and ``to_rgb`` stay False).

    Files are .npy arrays, TIFF, and all that OpenCV reads, 16-bit PNG among them; DICOM (.dcm) with
    pydicom, in the units of its slope and intercept, and HEIC with pillow-heif. Pages, planes and
    samples of a TIFF are bands, in this order; thumbnails, overviews and masks are left out, and
    a palette becomes colors. Transparency is a band like any other.

    Args:
        channels: Bands that every image must have, after ``bands``. None takes what comes.
        bands: Which bands of the file to take, in this order, counted from 0.
        layout: Of three-dimensional .npy arrays: 'hwc' or 'chw'.
        backend_args: As in mmcv's LoadImageFromFile.
        window: Lowest and highest value, for signed data such as Hounsfield units: values are
            clipped to it and counted from its lower end, as float32 in [0, high - low].
        nodata: The value of pixels without data, in the file. None takes what the file says: the
            tag of a GeoTIFF (GDAL_NODATA), the padding value of DICOM. Where there is one, NaN is
            no data either.
        fill: What such pixels become, in the units of the file; None is 0 in the result.
        dtype: Type of the values that every image must have, such as 'uint16'; None takes what
            comes.

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
        window: tuple[float, float] | None = None,
        nodata: float | None = None,
        fill: float | None = None,
        dtype: str | None = None,
    ):
        pair = window if isinstance(window, list | tuple) and len(window) == 2 else (0, 0)
        if window is not None and not pair[0] < pair[1]:
            raise UserError(
                f'LoadMultiBandImage.window={window!r}: expected the lowest and the highest value'
            )
        self.window = window
        self.nodata = None if nodata is None else float(nodata)
        if fill is not None and not np.isfinite(fill):
            raise UserError(f'LoadMultiBandImage.fill={fill!r}: expected a finite number')
        self.fill = fill
        check_choice('LoadMultiBandImage', ('hwc', 'chw'), layout=layout)
        check_choice('LoadMultiBandImage', (None, *DTYPES), dtype=dtype)
        self.dtype = dtype
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
        img = self.read(path, content)
        if isinstance(img, np.ma.MaskedArray):
            results['missing'] = img.mask
        results['img'] = img = np.ascontiguousarray(self.finish(img, path))
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def finish(self, img: np.ndarray, path: str) -> np.ndarray:
        """Return what :meth:`read` gives with its gaps filled, and as the window counts it."""
        low, high = self.window or (0, 0)
        img = img.astype(np.float32) if self.window else img
        if isinstance(img, np.ma.MaskedArray):
            img = self._fill(img, low if self.fill is None else self.fill, path)
        return np.clip(img, low, high) - np.float32(low) if self.window else img

    def read(self, path: str, content: bytes) -> np.ndarray:
        """Return the image (H, W, C), masked where it has no data; errors as of the class."""
        return self.take_bands(self.decode(path, content), path)

    def decode(self, path: str, content: bytes) -> np.ndarray:
        """Return the whole file as (H, W, C), of any type and number of bands, perhaps masked."""
        suffix = PurePath(path).suffix.lower()
        if suffix == '.npy':
            img = read_npy(path, content)
            if img.ndim == 3 and self.layout == 'chw':
                img = img.transpose(1, 2, 0)
        elif suffix in DICOM:
            img = read_dicom(path, content)
        elif suffix in TIFF:
            return read_tiff(path, content, self.nodata)
        else:
            img = _read_image(path, content)
        img = img.astype(np.uint8) * 255 if img.dtype == bool else img  # as OpenCV has two levels
        return hide_nodata(img[..., None] if img.ndim == 2 else img, self.nodata)

    def take_bands(self, img: np.ndarray, path: str) -> np.ndarray:
        """Return the bands that are asked for, or raise a UserError about the file."""
        if img.ndim != 3 or 0 in img.shape:
            raise UserError(f'{path} has shape {img.shape}; expected (H, W) or (H, W, C)')
        if img.dtype.name not in (DTYPES if self.dtype is None else [self.dtype]):
            raise UserError(
                f'{path} has values of type {img.dtype}; expected '
                + (f'one of {", ".join(DTYPES)}' if self.dtype is None else f'{self.dtype} here')
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
        wrong = ~np.isfinite(np.ma.filled(img, 0)) if img.dtype.kind == 'f' else np.array(False)
        if wrong.any():
            raise UserError(
                f'{path}: {wrong.sum()} of {img.size} values are not finite; replace them by a '
                "number in the file, or name NaN as missing (nodata='nan' of LoadMultiBandImage; "
                'beit-mm chain --nodata nan)'
            )
        return img

    def _fill(self, img: np.ma.MaskedArray, value: float, path: str) -> np.ndarray:
        limits = np.iinfo(img.dtype) if img.dtype.kind in 'iu' else np.finfo(img.dtype)
        if not limits.min <= value <= limits.max or (img.dtype.kind in 'iu' and value % 1):
            raise UserError(
                f'{path} has values of type {img.dtype}, which LoadMultiBandImage.fill={value} is '
                'not; choose another'
            )
        return img.filled(value)


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
        check_pixels(content)
        if content:
            img = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except (ImageTooLargeError, UnknownSizeError) as error:
        raise type(error)(f'{path} {error}') from error
    except cv2.error as error:  # more pixels than OpenCV reads, for example
        raise UserError(f'{path}: OpenCV cannot read it: {error.err or error}') from error
    if img is None:
        return _read_by_pillow(path, content)
    if content.startswith(PNG) and content[25] == GRAY_ALPHA:  # OpenCV: gray three times, alpha
        return img[..., [0, 3]]
    if img.ndim == 3 and img.shape[2] in (3, 4):  # OpenCV: blue first, alpha last
        img = img[..., [2, 1, 0, 3][: img.shape[2]]]
    return img


def _read_by_pillow(path: str, content: bytes) -> np.ndarray:
    """Read what OpenCV has no decoder for, such as HEIC."""
    try:
        with open_image(content) as image:
            if image.mode in ('P', 'PA'):  # numbers of a palette, as in PCX and TGA
                clear = image.mode == 'PA' or 'transparency' in image.info
                return np.asarray(image.convert('RGBA' if clear else 'RGB'))
            return np.asarray(image)
    except Exception as error:  # whatever a broken file makes of the decoder
        advice = advise_package(content) or 'repair or remove it'
        raise UserError(
            f'{path} ({len(content)} bytes) is not an image that OpenCV or Pillow can read; '
            f'{advice}'
        ) from error
