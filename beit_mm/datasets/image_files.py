"""What every image file goes through before it is decoded: accepted formats, and one limit.

Importing this module takes all other formats from Pillow's list, for mmcv's loaders too: Pillow
goes by the content of a file and starts Ghostscript for EPS, whatever the name of the file.
"""

import math
import os
import re
import stat
import struct
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.image_headers import JPEG, PNG, decoded_bytes, encoded_bytes, find_bytes
from beit_mm.opencv_limit import DEFAULT_GIB, MAX_GIB, bytes_of

# Their decoders are part of Pillow (HEIF: of pillow-heif) and read no other file.
FORMATS = (
    *('AVIF', 'BMP', 'DIB', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'PCX', 'PNG', 'PPM', 'QOI', 'SGI'),
    *('SUN', 'TGA', 'TIFF', 'WEBP'),
)
HEADER = 4096
# How the files begin that OpenCV may decode.
DECODED = re.compile(
    rb'(?s)BM|GIF8|\xff\xd8\xff|\xffO\xffQ|.{4}jP|.{4}ftyp|\x89PNG|P[1-7fF]\s|#\?R|\x59\xa6\x6a\x95|'
    rb'II[*+]|MM\0[*+]|RIFF|\x76\x2f\x31\x01'
)
SCAN, MOST_SCANS = re.compile(rb'\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)'), 100
FRAMES = {*range(0xFFC0, 0xFFD0)} - {0xFFC4, 0xFFC8, 0xFFCC}  # markers of JPEG frame headers
ONE_PASS = (0xFFC0, 0xFFC1)  # of these, those that are not progressive
SEGMENTS = {*range(0xFFC0, 0xFFD0), *range(0xFFDA, 0xFFFF)}  # markers with a length behind them
SEGMENT, SIZE = struct.Struct('>HH'), struct.Struct('>HHB')


class ImageTooLargeError(UserError):
    """A file, or the pixels that it says it has, takes more memory than is allowed."""


class UnknownSizeError(UserError):
    """An image that may be decoded, but does not say how large it is."""


def max_bytes() -> int:
    """Return how many bytes an image may take, as a file and decoded.

    Raises:
        UserError: The environment variable is no positive number.
    """
    limit = bytes_of(os.environ.get(MAX_GIB, DEFAULT_GIB))
    if limit is None:
        raise UserError(
            f'{MAX_GIB}={os.environ[MAX_GIB]!r}; expected GiB for one image, {DEFAULT_GIB} for '
            'example'
        )
    return limit


def refuse_larger(size: int, what: str = 'decoded') -> None:
    """Raise an ImageTooLargeError if ``size`` bytes are more than one image may take."""
    if size > max_bytes():
        raise ImageTooLargeError(
            f'takes {size / 2**30:.1f} GiB {what}; the limit of one image is '
            f'{max_bytes() / 2**30:g} GiB. Cut it up or remove it, or raise '
            f'{MAX_GIB} in the environment if it is what it should be'
        )


def restrict_pillow() -> None:
    """Leave Pillow with FORMATS alone, and with the limit on pixels that belongs to max_bytes."""
    Image.init()
    with suppress(ImportError):
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.ID[:] = [name for name in Image.ID if name in FORMATS]
    for name in set(Image.OPEN) - set(FORMATS):
        del Image.OPEN[name]
    with suppress(UserError):  # said when an image is read
        Image.MAX_IMAGE_PIXELS = max_bytes() // 6  # Pillow refuses twice as many; 3 bytes each


restrict_pillow()


def open_image(source: bytes | str | Path) -> Image.Image:
    """Open an image without decoding it.

    Raises:
        ImageTooLargeError: Its pixels take too much memory.
        PIL.UnidentifiedImageError: It is in none of FORMATS.
    """
    file = BytesIO(source) if isinstance(source, bytes) else source
    try:
        image = Image.open(file, formats=tuple(Image.ID))
    except Image.DecompressionBombError as error:
        pixels = re.search(r'\d+', str(error))
        refuse_larger(3 * int(pixels[0]))
        raise ImageTooLargeError(str(error)) from error
    try:
        refuse_larger(decoded_bytes(image))
    except BaseException:
        image.close()
        raise
    return image


def check_image_file(path: str | Path) -> None:
    """Refuse a local file that would hang its reader or fill the memory; decodes nothing.

    Files that are not there, elsewhere (``s3://``), or in no known format are left to the loader.

    Raises:
        UserError: It is a pipe or a device.
        ImageTooLargeError: It is too large, as a file or decoded.
    """
    if limit := refuse_unreadable(path):
        with suppress(OSError), open(path, 'rb', buffering=0) as file:
            start = file.read(HEADER)
            if start.startswith(JPEG) and not read_jpeg_head(start)[1]:
                start += file.read()
            _check_content(start, limit, path)


def read_image_file(path: str) -> bytes | None:
    """Read a file that check_image_file does not refuse; None if it leaves it to the loader."""
    if not (limit := refuse_unreadable(path)):
        return None
    try:
        with open(path, 'rb', buffering=0) as file:
            content = file.read()
        _check_content(content, limit)
    except UserError as error:
        raise type(error)(f'{path} {error}') from error
    except OSError:
        return None
    return content


def _check_content(content: bytes, limit: int, source: str | Path | None = None) -> None:
    """Refuse an image of more than ``limit`` bytes by its beginning, or by all of it."""
    size, is_one_scan = read_jpeg_head(content)
    if content.startswith(JPEG) and not is_one_scan:
        check_scans(content)
    elif content.startswith(PNG) and content[12:16] == b'IHDR':
        size = struct.unpack('>II', content[16:24])
    if size is None or not 0 < 8 * math.prod(size) <= limit:
        check_pixels(content, source)


def read_jpeg_head(content: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Return (height, width) of a JPEG, and whether one scan surely has all of it.

    The size is None where the markers before the first frame header are not all there, or if it is
    another file. The image may be shown turned.
    """
    size, components = None, 0
    place = 2 if content.startswith(JPEG) else len(content)
    while place + 10 <= len(content):
        marker, length = SEGMENT.unpack_from(content, place)
        if marker in FRAMES and size is None:
            height, width, parts = SIZE.unpack_from(content, place + 5)
            size, components = (height, width), parts if marker in ONE_PASS else 0
        elif marker == 0xFFDA:
            return size, 0 < components == content[place + 4]
        elif marker not in SEGMENTS:
            break
        place += 2 + length
    return size, False


def refuse_unreadable(path: str | Path) -> int | None:
    """Raise the errors of check_image_file that need no opening.

    Returns how many bytes the image may take, or None if ``path`` is no local file.
    """
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(info.st_mode):
        if stat.S_ISDIR(info.st_mode):
            return None
        raise UserError('is a pipe or a device, not a file; remove it')
    if info.st_size > (limit := max_bytes()):
        refuse_larger(info.st_size, 'as a file')
    return limit


def advise_package(content: bytes) -> str | None:
    """Return what to do about an image in a format that needs an optional package."""
    if content[4:8] == b'ftyp' and content[8:11] in (b'hei', b'hev', b'mif', b'msf'):
        return 'HEIC needs pillow-heif: pip install pillow-heif, or convert it'
    if content[128:132] == b'DICM':
        return 'DICOM is read by beit_mm.LoadMultiBandImage from files ending with .dcm'
    return None


def check_pixels(content: bytes, source: bytes | str | Path | None = None) -> None:
    """Refuse an image whose header says more pixels than fit; ``source`` is all of it."""
    check_scans(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            open_image(content if source is None else source).close()
    except ImageTooLargeError:
        raise
    except Exception as error:  # broken or none of Pillow's, which the loader says
        size = find_bytes(content, source)
        if size is None and DECODED.match(content):
            advice = advise_package(content) or 'repair or remove it'
            raise UnknownSizeError(
                f'does not say how many pixels it has, so that it is not decoded; {advice} '
                '(tools/check_dataset.py finds all such)'
            ) from error
        refuse_larger(size or 0)


def check_scans(content: bytes) -> None:
    """Refuse a JPEG of very many scans, each of which goes through all pixels."""
    if content.startswith(JPEG) and content.count(b'\xff\xda') > MOST_SCANS:
        if (scans := len(SCAN.findall(content))) > MOST_SCANS:
            raise ImageTooLargeError(
                f'has {scans} scans, a progressive JPEG about 10; save it anew'
            )


def check_encoded(content: bytes) -> None:
    """Refuse an image inside of another file unless its own header says a size that fits."""
    check_scans(content)
    size = encoded_bytes(content)
    if size is None and content.startswith(b'RIFF'):
        with suppress(OSError, ValueError), open_image(content) as image:
            size = decoded_bytes(image)
    if size is None:
        raise UnknownSizeError(
            'holds an encoded image whose pixels cannot be counted before they are decoded; save '
            'it without compression or with deflate'
        )
    refuse_larger(size)
