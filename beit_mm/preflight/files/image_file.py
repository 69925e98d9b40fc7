"""Checks of an image file: whether it can be decoded, and what the loader makes of it."""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from beit_mm.contracts import Finding, UserError
from beit_mm.datasets.image_files import (
    ImageTooLargeError,
    UnknownSizeError,
    advise_package,
    check_pixels,
    open_image,
    refuse_unreadable,
)
from beit_mm.datasets.transforms import LoadMultiBandImage

ORIENTATION = 0x0112  # of EXIF
BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339  # of TIFF
LOAD_BANDS = 'read it by beit_mm.LoadMultiBandImage (docs/any_channels.md)'
SAME_FORMAT = dict(MPO='JPEG', JPEG2000='JPEG2000', DIB='BMP')


@dataclass(frozen=True)
class Loader:
    """How the pipeline of a config reads images.

    Attributes:
        bands: LoadMultiBandImage, which keeps bit depth and bands; None is mmcv's loader.
        backend: The image library of mmcv's loader.
        eight_bit: It makes 8-bit images of three channels or one.
        turns: It applies the EXIF orientation.
        crop: (H, W) of a crop from the image in its original size; None if there is none.
        patch: Patch size of the model.
    """

    bands: LoadMultiBandImage | None = None
    backend: str = 'cv2'
    eight_bit: bool = True
    turns: bool = True
    crop: tuple[int, int] | None = None
    patch: int = 1


@dataclass(frozen=True)
class ImageFacts:
    """What other checks need: (H, W) as stored, EXIF orientation, bands and type if kept."""

    size: tuple[int, int]
    orientation: int = 1
    values: str = ''


def read_file(path: str, what: str = '') -> tuple[bytes | None, Finding | None]:
    """Return the content, or why there is none; ``what`` begins the kind of the finding."""
    try:
        refuse_unreadable(path)
        content = Path(path).read_bytes()
    except UserError as error:
        kind = 'decompression-bomb' if isinstance(error, ImageTooLargeError) else 'unreadable'
        return None, Finding.error(path, str(error), f'{what}{kind}')
    except FileNotFoundError:
        message = 'the data set names it, but there is no such file; restore or remove its entry'
        return None, Finding.error(path, message, f'{what}missing')
    except OSError as error:
        message = f'cannot be read ({error.strerror}); check its permissions and the disk'
        return None, Finding.error(path, message, f'{what}unreadable')
    if not content:
        message = 'is empty (0 bytes); restore or remove it'
        return None, Finding.error(path, message, f'{what}empty-file')
    return content, None


def check_image(
    path: str, content: bytes, loader: Loader
) -> tuple[list[Finding], ImageFacts | None]:
    """Return all findings, and the facts of a file that could be decoded."""
    if loader.bands is not None:
        return _check_bands(path, content, loader)
    found, image = decode(path, content)
    if image is None:
        broken = found[-1].kind != 'undecodable' or _is_known(content)
        other = None if broken else _check_other(path, content, loader)
        return other or (found, None)
    found += _check_format(path, content, image, loader)
    wide = any(finding.kind == 'sixteen-bit' for finding in found)
    if loader.backend == 'cv2' and not wide and cv2_cannot(content):
        message = (
            f'OpenCV cannot read this {image.format} file, Pillow can; set imdecode_backend='
            "'pillow' of LoadImageFromFile, or convert the file"
        )
        found.append(Finding.error(path, message, 'undecodable'))
    facts = ImageFacts((image.height, image.width), orientation_of(image))
    turned = loader.turns and facts.orientation >= 5
    found += _check_size(path, facts.size[::-1] if turned else facts.size, loader)
    if not any(finding.level == 'error' for finding in found):
        found += _check_content(path, np.asarray(image))
    return found, facts


def decode(path: str, content: bytes, what: str = '') -> tuple[list[Finding], Image.Image | None]:
    """Return what is wrong with an encoded image, and the image with all its pixels read."""
    found = []
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            check_pixels(content)
            with open_image(content) as image:
                image.verify()  # check sums of PNG
            image = open_image(content)
            image.load()
    except ImageTooLargeError as error:
        message = f'{error} ({len(content)} bytes; not decoded)'
        return [Finding.error(path, message, f'{what}decompression-bomb')], None
    except Exception as raised:  # a decoder may raise anything on a broken file
        error = raised.__cause__ if isinstance(raised, UnknownSizeError) else raised
        if isinstance(error, UnidentifiedImageError):
            advice = advise_package(content) or 'restore or remove it'
            begin = f'it begins with {content[:12]!r}'
            message = f'is no image that Pillow can read ({begin}); {advice}'
            return [Finding.error(path, message, f'{what}undecodable')], None
        kind = 'truncated' if _is_cut_off(error, content) else 'undecodable'
        message = f'{len(content)} bytes, {error}; restore or remove it'
        return [Finding.error(path, message, f'{what}{kind}')], None
    if any(issubclass(warning.category, Image.DecompressionBombWarning) for warning in seen):
        message = (
            f'{image.width} x {image.height} pixels; each time it is loaded it takes '
            f'{image.width * image.height * 3 / 2**20:.0f} MiB. Scale it down, or cut it up'
        )
        found.append(Finding.warning(path, message, f'{what}huge'))
    return found, image


def bits_of(content: bytes, image: Image.Image) -> int:
    """Return the bits of a channel in the file, which Pillow may have reduced to 8."""
    if image.format == 'PNG':
        return content[24]  # after the signature, in IHDR
    if image.format == 'TIFF':
        return max(image.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    if image.mode.startswith('I;16'):
        return 16
    return 32 if image.mode in ('I', 'F') else 8


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation: 1 is upright, 2 to 4 keep the axes, 5 to 8 exchange them."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # loaders ignore unreadable EXIF data
        return 1
    return value if value in range(1, 9) else 1


def other_format(path: str, image: Image.Image) -> str | None:
    """Return the format of the content if the file's ending says another one."""
    by_name = Image.registered_extensions().get(PurePath(path).suffix.lower())
    names = [SAME_FORMAT.get(name, name) for name in (by_name, image.format)]
    return image.format if None not in names and names[0] != names[1] else None


def cv2_cannot(content: bytes) -> bool:
    """Tell if OpenCV cannot decode ``content``, whose pixels have been counted."""
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is None
    except cv2.error:
        return True


def _check_format(
    path: str, content: bytes, image: Image.Image, loader: Loader
) -> Iterator[Finding]:
    if real := other_format(path, image):
        message = f'is a {real} file by its content; rename it, some readers go by the ending'
        yield Finding.warning(path, message, 'wrong-extension')
    if not loader.eight_bit:
        return
    bits = bits_of(content, image)
    if image.format == 'TIFF' and 2 in image.tag_v2.get(SAMPLE_FORMAT, ()):
        message = 'has signed values, of which LoadImageFromFile makes others; ' + LOAD_BANDS
        yield Finding.error(path, message, 'sixteen-bit')
    elif bits > 8:
        message = (
            f'has {bits} bits a channel, LoadImageFromFile makes 8 of them (its darkest '
            '256th becomes all black); convert it, or read it by beit_mm.LoadMultiBandImage'
        )
        yield Finding.error(path, message, 'sixteen-bit')
    if image.mode == 'CMYK':
        message = 'is CMYK, its colors after conversion are a guess; convert it to RGB'
        yield Finding.warning(path, message, 'cmyk')
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        message = (
            'has transparency, which is dropped: what is invisible becomes visible; put it on a '
            'background'
        )
        yield Finding.warning(path, message, 'alpha')


def _check_size(path: str, size: tuple[int, int], loader: Loader) -> list[Finding]:
    height, width = size
    sizes = f'{width} x {height} pixels'
    if min(size) == 1:
        message = f'{sizes}; nothing can be learned from one row or column, remove it'
        return [Finding.error(path, message, 'one-pixel')]
    if min(size) < loader.patch:
        message = f'{sizes}, less than one patch of the model ({loader.patch}); remove it'
        return [Finding.warning(path, message, 'smaller-than-patch')]
    if loader.crop is not None and (height < loader.crop[0] or width < loader.crop[1]):
        message = (
            f'{sizes}, the crop is {loader.crop[1]} x {loader.crop[0]}: it is enlarged or padded'
        )
        return [Finding.note(path, message, 'smaller-than-crop')]
    return []


def _check_other(
    path: str, content: bytes, loader: Loader
) -> tuple[list[Finding], ImageFacts | None] | None:
    """Check an image that Pillow cannot read, but OpenCV or tifffile can; None if they cannot."""
    try:
        check_pixels(content)
        img = LoadMultiBandImage().decode(path, content)
    except UserError:
        return None
    values = f'{img.shape[2]} bands of type {img.dtype}'
    can = loader.backend == 'cv2' and not cv2_cannot(content)
    try:
        LoadMultiBandImage().take_bands(img, path)
    except UserError as error:
        message = f'has {values}, of which none is read: {str(error).removeprefix(f"{path} ")}'
        found = [Finding.error(path, message, 'undecodable')]
        return found, ImageFacts(img.shape[:2])
    if not can:
        message = f'has {values}, which LoadImageFromFile cannot read; {LOAD_BANDS}'
        found = [Finding.error(path, message, 'multi-band')]
    elif loader.eight_bit and img.dtype != np.uint8:
        message = f'has {values}, of which LoadImageFromFile makes 8 bits; {LOAD_BANDS}'
        found = [Finding.error(path, message, 'sixteen-bit')]
    elif loader.eight_bit and img.shape[2] not in (1, 3):
        message = f'has {values}, of which LoadImageFromFile makes three; {LOAD_BANDS}'
        found = [Finding.warning(path, message, 'multi-band')]
    else:
        found = []
    size = img.shape[:2]
    return [*found, *_check_size(path, size, loader)], ImageFacts(size)


def _is_known(content: bytes) -> bool:
    """Tell if Pillow knows the format and all its kinds, so that what it cannot read is broken."""
    try:
        with open_image(content) as image:
            return image.format != 'TIFF'
    except UnidentifiedImageError:
        return False
    except Exception:
        return True


def _check_bands(
    path: str, content: bytes, loader: Loader
) -> tuple[list[Finding], ImageFacts | None]:
    try:
        img = loader.bands.transform(dict(img_path=path))['img']
    except Exception as error:  # a decoder may raise anything on a broken file
        message = str(error).removeprefix(f'{path} ')
        kind = 'decompression-bomb' if isinstance(error, ImageTooLargeError) else 'undecodable'
        return [Finding.error(path, message, kind)], None
    size = img.shape[:2]
    found = [*_check_size(path, size, loader), *_check_content(path, img)]
    return found, ImageFacts(size, values=f'{img.shape[2]} bands of type {img.dtype}')


def _check_content(path: str, img: np.ndarray) -> list[Finding]:
    if (img != img[:1, :1]).any():
        return []
    values = ', '.join(f'{value:g}' for value in np.ravel(img[0, 0] * 1.0)[:8])
    message = f'is constant: all pixels are {values}; remove it unless it is meant to be'
    return [Finding.warning(path, message, 'constant')]


def _is_cut_off(error: Exception, content: bytes) -> bool:
    if re.search(r'truncat|end of file|not enough|cut off', str(error).lower()):
        return True
    return content.startswith(b'\x89PNG') and b'IEND' not in content[-12:]
