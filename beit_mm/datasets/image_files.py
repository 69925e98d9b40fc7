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
from beit_mm.opencv_limit import DEFAULT_GIB, MAX_GIB, bytes_of

# Their decoders are part of Pillow (HEIF: of pillow-heif) and read no other file.
FORMATS = (
    *('AVIF', 'BMP', 'DIB', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'PCX', 'PNG', 'PPM', 'QOI', 'SGI'),
    *('SUN', 'TGA', 'TIFF', 'WEBP'),
)
HEADER = 4096
# Formats that OpenCV reads and Pillow does not: (height, width) or (width, height) in the header.
OTHER_HEADERS = (
    re.compile(rb'#\?(?:RADIANCE|RGBE).*?\n[-+][XY]\s*(\d+)\s+[-+][XY]\s*(\d+)', re.DOTALL),
    re.compile(rb'P[Ff]\s+(\d+)\s+(\d+)\s'),
    re.compile(rb'P7\s(?=.*?WIDTH\s+(\d+))(?=.*?HEIGHT\s+(\d+))', re.DOTALL),
)
PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG frame headers
LONG_HEADER = 2**20  # with comments, where Pillow does not know the format
WIDE = ('AVIF', 'HEIF', 'JPEG2000', 'PPM')  # may have 16 bits where Pillow's mode does not say it
BITS, SAMPLES, TILE_WIDTH, TILE_LENGTH = 258, 277, 322, 323  # tags of TIFF


class ImageTooLargeError(UserError):
    """A file, or the pixels that it says it has, takes more memory than is allowed."""


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
        refuse_larger(_decoded_bytes(image))
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
    if refuse_unreadable(path):
        with suppress(OSError), open(path, 'rb', buffering=0) as file:
            start = file.read(HEADER)
            if not _surely_fits(start):
                check_pixels(start, path)


def _surely_fits(start: bytes) -> bool:
    """Return whether the first bytes say so few pixels that the file needs no further look."""
    size = find_jpeg_size(start)
    if size is None and start.startswith(PNG) and start[12:16] == b'IHDR':
        size = struct.unpack('>II', start[16:24])
    return size is not None and 0 < 8 * math.prod(size) <= max_bytes()


def find_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """Return (height, width) of the first frame header of a JPEG file.

    None where the markers before it are not all there, or if it is another file. The image may be
    shown turned.
    """
    place = 2 if content.startswith(JPEG) else len(content)
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in FRAMES:
            height, width = struct.unpack('>HH', content[place + 5 : place + 9])
            return height, width
        if not 0xC4 <= marker <= 0xFE or 0xD0 <= marker <= 0xDA:
            return None
        place += 2 + int.from_bytes(content[place + 2 : place + 4])
    return None


def refuse_unreadable(path: str | Path) -> bool:
    """Return if ``path`` is a local file; raise the errors of check_image_file without opening."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return False
    if not stat.S_ISREG(info.st_mode):
        if stat.S_ISDIR(info.st_mode):
            return False
        raise UserError('is a pipe or a device, not a file; remove it')
    refuse_larger(info.st_size, 'as a file')
    return True


def advise_package(content: bytes) -> str | None:
    """Return what to do about an image in a format that needs an optional package."""
    if content[4:8] == b'ftyp' and content[8:11] in (b'hei', b'hev', b'mif', b'msf'):
        return 'HEIC needs pillow-heif: pip install pillow-heif, or convert it'
    if content[128:132] == b'DICM':
        return 'DICOM is read by beit_mm.LoadMultiBandImage from files ending with .dcm'
    return None


def check_pixels(content: bytes, source: bytes | str | Path | None = None) -> None:
    """Refuse an image whose header says more pixels than fit; ``source`` is all of it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            open_image(content if source is None else source).close()
    except ImageTooLargeError:
        raise
    except Exception:  # broken or none of Pillow's, which the loader says
        refuse_larger(_find_bytes(_read_start(content, source)))
        if content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            _check_first_page(content if source is None else source)


def _read_start(content: bytes, source: bytes | str | Path | None) -> bytes:
    if source is None or isinstance(source, bytes):
        return (source or content)[:LONG_HEADER]
    try:
        with open(source, 'rb') as file:
            return file.read(LONG_HEADER)
    except OSError:
        return content


def _find_bytes(start: bytes) -> int:
    """Return the bytes of the pixels of an image that OpenCV may read although Pillow refuses it.

    0 if it is none that is known.
    """
    if start.startswith(PNG) and start[12:16] == b'IHDR' and len(start) >= 24:
        return 8 * math.prod(struct.unpack('>II', start[16:24]))  # four channels of 16 bits
    if start.startswith(JPEG):
        return 4 * _find_jpeg_pixels(start)
    found = (header.match(start) for header in OTHER_HEADERS)
    return next((16 * int(match[1]) * int(match[2]) for match in found if match), 0)


def _find_jpeg_pixels(start: bytes) -> int:
    """Return the most pixels that a frame header of a JPEG file says."""
    sizes = [0]
    for match in re.finditer(rb'\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf]', start):
        frame = start[match.end() : match.end() + 7]  # length, bits, height, width
        if len(frame) == 7 and 8 <= int.from_bytes(frame[:2]) <= 8 + 3 * 4:
            sizes.append(int.from_bytes(frame[3:5]) * int.from_bytes(frame[5:7]))
    return max(sizes)


def _check_first_page(source: bytes | str | Path) -> None:
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(source) if isinstance(source, bytes) else source) as file:
            size = page_bytes(file.pages[0])
    except Exception:  # whatever a broken file makes of the parser
        return
    refuse_larger(size)


def page_bytes(page) -> int:
    """Return the bytes of the pixels of a page of tifffile, or of one of its tiles."""
    return max(page.nbytes, chunk_bytes(page))


def chunk_bytes(page) -> int:
    """Return the bytes of the pixels of a strip or tile of a page of tifffile."""
    return math.prod(page.chunks) * (1 if page.dtype is None else page.dtype.itemsize)


def _decoded_bytes(image: Image.Image) -> int:
    """Return an upper bound for all loaders, which make three channels at least."""
    (width, height), bands = image.size, max(3, len(image.getbands()))
    if image.format == 'TIFF':
        tags = image.tag_v2
        bits = max((*tags.get(BITS, (1,)), 8))
        width, height = max(width, tags.get(TILE_WIDTH, 0)), max(height, tags.get(TILE_LENGTH, 0))
        return width * height * max(bands, tags.get(SAMPLES, 1)) * bits // 8
    wide = image.format in WIDE or ';16' in str(image.tile)
    return width * height * bands * (4 if image.mode == 'F' else 1 + wide)
