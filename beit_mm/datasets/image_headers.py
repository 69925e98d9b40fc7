"""How many bytes the pixels of an image take, by what its file says before they are decoded.

They are upper bounds for the decoders of Pillow, OpenCV and tifffile; None is not known.
"""

import math
import re
import struct
from io import BytesIO
from pathlib import Path

from PIL import Image

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
# Formats that OpenCV reads and Pillow does not: (height, width) or (width, height) in the header.
OTHER_HEADERS = (
    re.compile(rb'P[Ff]\s+(\d+)\s+(\d+)\s'),
    re.compile(rb'P7\s(?=.*?WIDTH\s+(\d+))(?=.*?HEIGHT\s+(\d+))', re.DOTALL),
)
RADIANCE = re.compile(rb'-Y\s*\+?(\d+)\s*\+X\s*\+?(\d+)')  # of its second part
# JPEG 2000: width, height, left, top, and the number of components of a codestream
SIZ = re.compile(rb'\xff\x4f\xff\x51.{4}(.{4})(.{4})(.{4})(.{4}).{16}(.{2})', re.DOTALL)
# LERC: height, width and bands of each part
LERC = re.compile(rb'Lerc2 [\x04-\x07]\0\0\0.{4}(.{4})(.{4})(.{4})', re.DOTALL)
LONG_HEADER = 2**20  # with comments, where Pillow does not know the format
WIDE = ('AVIF', 'HEIF', 'JPEG2000', 'PPM')  # may have 16 bits where Pillow's mode does not say it
BITS, SAMPLES, TILE_WIDTH, TILE_LENGTH = 258, 277, 322, 323  # tags of TIFF


def find_bytes(content: bytes, source: bytes | str | Path | None = None) -> int | None:
    """Return the bytes of the pixels of an image that OpenCV may read although Pillow refuses it.

    Args:
        content: Its beginning.
        source: All of it, as bytes or a path; None if ``content`` is that.
    """
    source = content if source is None else source
    if content[:4] in TIFF:
        return _bytes_of_first_page(source)
    try:
        return _bytes_of_header(_read_start(source))
    except OSError:
        return _bytes_of_header(content)


def _read_start(source: bytes | str | Path) -> bytes:
    if isinstance(source, bytes):
        return source[:LONG_HEADER]
    with open(source, 'rb') as file:
        return file.read(LONG_HEADER)


def _bytes_of_header(start: bytes) -> int | None:
    if start.startswith(PNG) and start[12:16] == b'IHDR' and len(start) >= 24:
        return 8 * math.prod(struct.unpack('>II', start[16:24]))  # four channels of 16 bits
    if start.startswith(JPEG):
        return _bytes_of_jpeg(start)
    if start.startswith(b'BM') and len(start) >= 26:
        return 4 * abs(math.prod(struct.unpack('<ii', start[18:26])))
    if start.startswith((b'#?RADIANCE', b'#?RGBE')):
        lines = iter(re.findall(rb'[^\n]{127}|[^\n]*\n', start))  # as OpenCV reads them
        size = RADIANCE.match(next((next(lines, b'') for line in lines if line == b'\n'), b''))
        return 16 * int(size[1]) * int(size[2]) if size else None
    found = (header.match(start) for header in OTHER_HEADERS)
    return next((16 * int(match[1]) * int(match[2]) for match in found if match), None)


def _bytes_of_jpeg(start: bytes) -> int | None:
    """Return the most bytes that a frame header of a JPEG or JPEG-LS file says."""
    sizes = []
    for match in re.finditer(rb'\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]', start):
        frame = start[match.end() : match.end() + 8]  # length, bits, height, width, components
        if len(frame) == 8 and int.from_bytes(frame[:2]) == 8 + 3 * frame[7]:
            pixels = int.from_bytes(frame[3:5]) * int.from_bytes(frame[5:7])
            sizes.append(pixels * max(frame[7], 3) * (1 + (frame[2] > 8)))
    return max(sizes, default=None)


def _bytes_of_first_page(source: bytes | str | Path) -> int | None:
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


def decoded_bytes(image: Image.Image) -> int:
    """Return an upper bound for all loaders, which make three channels at least."""
    (width, height), bands = image.size, max(3, len(image.getbands()))
    if image.format == 'TIFF':
        tags = image.tag_v2
        bits = max((*tags.get(BITS, (1,)), 8))
        width, height = max(width, tags.get(TILE_WIDTH, 0)), max(height, tags.get(TILE_LENGTH, 0))
        return width * height * max(bands, tags.get(SAMPLES, 1)) * bits // 8
    wide = image.format in WIDE or ';16' in str(image.tile)
    return width * height * bands * (4 if image.mode == 'F' else 1 + wide)


def encoded_bytes(content: bytes) -> int | None:
    """Return the bytes of the pixels of an image inside of another file, by its own header."""
    found = [[int.from_bytes(part) for part in match.groups()] for match in SIZ.finditer(content)]
    sizes = [4 * (w - x) * (h - y) * parts for w, h, x, y, parts in found]  # 32 bits in OpenJPEG
    if content.startswith(b'Lerc2'):
        found = [[int.from_bytes(n, 'little') for n in m.groups()] for m in LERC.finditer(content)]
        sizes = [sum(8 * math.prod(shape) for shape in found)] if found else []
    return max(sizes) if sizes else _bytes_of_header(content)
