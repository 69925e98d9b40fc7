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
# How the files begin that OpenCV may decode.
DECODED = re.compile(
    rb'(?s)BM|GIF8|\xff\xd8\xff|\xffO\xffQ|.{4}jP|.{4}ftyp|\x89PNG|P[1-7fF]\s|#\?R|\x59\xa6\x6a\x95|'
    rb'II[*+]|MM\0[*+]|RIFF|\x76\x2f\x31\x01'
)
# JPEG 2000: width, height, left, top, and the number of components of a codestream
SIZ = re.compile(rb'\xff\x4f\xff\x51.{4}(.{4})(.{4})(.{4})(.{4}).{16}(.{2})', re.DOTALL)
# LERC: height, width and bands of each part
LERC = re.compile(rb'Lerc2 [\x04-\x07]\0\0\0.{4}(.{4})(.{4})(.{4})', re.DOTALL)
PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG frame headers
LONG_HEADER = 2**20  # with comments, where Pillow does not know the format
WIDE = ('AVIF', 'HEIF', 'JPEG2000', 'PPM')  # may have 16 bits where Pillow's mode does not say it
BITS, SAMPLES, TILE_WIDTH, TILE_LENGTH = 258, 277, 322, 323  # tags of TIFF


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
    except Exception as error:  # broken or none of Pillow's, which the loader says
        size = _find_bytes(_read_start(content, source))
        if content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            size = _first_page_bytes(content if source is None else source)
        if size is None and DECODED.match(content):
            advice = advise_package(content) or 'repair or remove it'
            raise UnknownSizeError(
                f'does not say how many pixels it has, so that it is not decoded; {advice} '
                '(tools/check_dataset.py finds all such)'
            ) from error
        refuse_larger(size or 0)


def check_encoded(content: bytes) -> None:
    """Refuse an image inside of another file unless its own header says a size that fits."""
    found = [[int.from_bytes(part) for part in match.groups()] for match in SIZ.finditer(content)]
    sizes = [4 * (w - x) * (h - y) * parts for w, h, x, y, parts in found]  # 32 bits in OpenJPEG
    if content.startswith(b'Lerc2'):
        found = [[int.from_bytes(n, 'little') for n in m.groups()] for m in LERC.finditer(content)]
        sizes = [sum(8 * math.prod(shape) for shape in found)] if found else []
    size = max(sizes) if sizes else _find_bytes(content)
    if size is None and content.startswith(b'RIFF'):
        with suppress(OSError, ValueError), open_image(content) as image:
            size = _decoded_bytes(image)
    if size is None:
        raise UnknownSizeError(
            'holds an encoded image whose pixels cannot be counted before they are decoded; save '
            'it without compression or with deflate'
        )
    refuse_larger(size)


def _read_start(content: bytes, source: bytes | str | Path | None) -> bytes:
    if source is None or isinstance(source, bytes):
        return (source or content)[:LONG_HEADER]
    try:
        with open(source, 'rb') as file:
            return file.read(LONG_HEADER)
    except OSError:
        return content


def _find_bytes(start: bytes) -> int | None:
    """Return the bytes of the pixels of an image that OpenCV may read although Pillow refuses it.

    None if that is not known.
    """
    if start.startswith(PNG) and start[12:16] == b'IHDR' and len(start) >= 24:
        return 8 * math.prod(struct.unpack('>II', start[16:24]))  # four channels of 16 bits
    if start.startswith(JPEG):
        return _find_jpeg_bytes(start)
    if start.startswith(b'BM') and len(start) >= 26:
        return 4 * abs(math.prod(struct.unpack('<ii', start[18:26])))
    found = (header.match(start) for header in OTHER_HEADERS)
    return next((16 * int(match[1]) * int(match[2]) for match in found if match), None)


def _find_jpeg_bytes(start: bytes) -> int | None:
    """Return the most bytes that a frame header of a JPEG or JPEG-LS file says."""
    sizes = []
    for match in re.finditer(rb'\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]', start):
        frame = start[match.end() : match.end() + 8]  # length, bits, height, width, components
        if len(frame) == 8 and int.from_bytes(frame[:2]) == 8 + 3 * frame[7]:
            pixels = int.from_bytes(frame[3:5]) * int.from_bytes(frame[5:7])
            sizes.append(pixels * max(frame[7], 3) * (1 + (frame[2] > 8)))
    return max(sizes, default=None)


def _first_page_bytes(source: bytes | str | Path) -> int | None:
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(source) if isinstance(source, bytes) else source) as file:
            return page_bytes(file.pages[0])
    except Exception:  # whatever a broken file makes of the parser
        return None


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
