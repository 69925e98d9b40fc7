"""Reading TIFF files with all their bands and bits."""

import lzma
import math
import zlib
from contextlib import suppress
from io import BytesIO

import numpy as np

from beit_mm.contracts import UserError
from beit_mm.datasets.image_files import ImageTooLargeError, check_encoded, max_bytes, refuse_larger
from beit_mm.datasets.image_headers import chunk_bytes, page_bytes

REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType: a thumbnail or overview, a transparency mask
MINISWHITE, PALETTE = 0, 3  # photometric interpretations
GDAL_NODATA = 42113  # tag, which has floating-point values as decimals
TOLERANCE = 1e-5
PAGE_AXES = 'QZYXS'  # of tifffile's arrays of one page that are not squeezed
# How many times larger these decoders may make their input, and one that can be stopped.
# Without imagecodecs, tifffile unpacks strips without regard to their size.
DEFLATE = 1032, zlib.decompressobj
# Decoders that go by the size that the encoded strip says: JPEG, JPEG 2000, JPEG XR, PNG, WebP,
# JPEG XL and LERC. All others of tifffile stop where the pixels of the strip end.
IMAGE_CODECS = (6, 7, 33007, 34892, 33003, 33004, 33005, 34712, 22610, 34934, 34933, 50001)
IMAGE_CODECS += (50002, 52546, 34887)
UNPACKERS = {8: DEFLATE, 32946: DEFLATE, 50013: DEFLATE, 34925: (8192, lzma.LZMADecompressor)}


def read_tiff(path: str, content: bytes, nodata: float | None = None) -> np.ndarray:
    """Return (H, W, C); every axis that is neither rows nor columns becomes bands.

    Thumbnails, overviews and transparency masks, which their pages are marked as, are left out.
    Numbers of a palette become its red, green and blue; unsigned values where 0 is white are
    inverted. Pixels of the value ``nodata``, or else of the tag GDAL_NODATA, are masked.

    Raises:
        UserError: The file is broken, has images of several sizes or types, or needs another
            package. ImageTooLargeError: its pixels take too much memory.
    """
    import tifffile

    try:
        with tifffile.TiffFile(BytesIO(content)) as file:
            page = next(filter(_is_main, file.pages), file.pages[0])
            colors = np.asarray(page.colormap) if page.photometric == PALETTE else None
            inverted, bits = page.photometric == MINISWHITE, page.bitspersample
            with suppress(ValueError):  # there is no tag, or no number in it
                tag = str(page.tags.valueof(GDAL_NODATA)).strip('\0 ')
                nodata = float(tag) if nodata is None else nodata
            if colors is not None:  # three channels come of one
                refuse_larger(3 * page.size)
            images = _read_images(file, content)
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f'{path} {error}') from error
    except Exception as error:  # whatever a broken file makes of the parser
        advice = '; pip install imagecodecs' if 'imagecodecs' in str(error) else ''
        raise UserError(f'{path} is not a readable TIFF file: {error}{advice}') from error
    img = _merge(path, images)
    missing = np.ma.getmask(hide_nodata(img, nodata))
    if img.dtype == bool:  # as OpenCV has two levels
        img, inverted = (img != inverted).astype(np.uint8) * 255, False
    if colors is not None:
        img = _apply_palette(path, img, colors)
    elif inverted and img.dtype.kind == 'u':
        img = img.dtype.type(2 ** min(bits, 8 * img.itemsize) - 1) - img
    if missing is np.ma.nomask:
        return img
    return np.ma.array(img, mask=np.broadcast_to(missing, img.shape))


def _merge(path: str, images: list[tuple[str, np.ndarray]]) -> np.ndarray:
    """Return (H, W, C) of all images of a file with their axes."""
    if len({(axes, img.shape, img.dtype) for axes, img in images}) != 1:
        raise UserError(
            f'{path} has {len(images)} images of different sizes or types; expected pages that are '
            'bands of one image'
        )
    axes = images[0][0]
    if not {'Y', 'X'} <= set(axes):
        raise UserError(f'{path} has no rows and columns of pixels (axes {axes})')
    if len(images) > 1:
        img = np.stack([img for _, img in images])  # pages that were written one by one
    else:
        img = images[0][1][None]
    y, x = 1 + axes.index('Y'), 1 + axes.index('X')
    others = [axis for axis in range(img.ndim) if axis not in (y, x)]
    bands = math.prod(img.shape[axis] for axis in others)  # may be 0 in a damaged file
    return img.transpose(y, x, *others).reshape(img.shape[y], img.shape[x], bands)


def _read_images(file, content: bytes) -> list[tuple[str, np.ndarray]]:
    """Return axes and pixels of the images of a file, with sides of one pixel."""
    pages = list(file.pages)
    for page in pages:
        refuse_larger(page_bytes(page))
        _check_strips(page, content)
    main = [*filter(_is_main, pages)]
    if 0 < len(main) < len(pages):
        refuse_larger(sum(page.nbytes for page in main))
        return [(PAGE_AXES, page.asarray(squeeze=False, maxworkers=1)) for page in main]
    refuse_larger(sum(series.nbytes for series in file.series))
    return [
        # One thread: data workers are processes already, and each strip takes memory.
        (series.get_axes(False), series.asarray(maxworkers=1).reshape(series.get_shape(False)))
        for series in file.series
    ]


def _is_main(page) -> bool:
    return not page.subfiletype & REDUCED_OR_MASK


def _check_strips(page, content: bytes) -> None:
    """Refuse strips and tiles that unpack to far more bytes than their pixels take."""
    if page.compression in IMAGE_CODECS:
        header = page.jpegheader or b''
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=False):
            if size:
                check_encoded(header + content[start : start + size])
    if page.compression not in UNPACKERS:
        return
    factor, decompressor = UNPACKERS[page.compression]
    most = max(2 * chunk_bytes(page), 2**24)
    for start, size in zip(page.dataoffsets, page.databytecounts, strict=False):
        if factor * size > max_bytes():
            unpacker = decompressor()
            unpacker.decompress(content[start : start + size], most)
            if not unpacker.eof:
                raise ImageTooLargeError(
                    f'has a strip of {size} bytes that unpacks to more than {most}, far more than '
                    'its pixels take, or is cut off; remove it'
                )


def _apply_palette(path: str, img: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) of the numbers (H, W, 1); ``colors`` is (3, N), of 8 or 16 bits."""
    is_known = colors.ndim == 2 and len(colors) == 3 and img.max(initial=0) < colors.shape[1]
    if img.shape[2] != 1 or img.dtype.kind != 'u' or not is_known:
        raise UserError(f'{path} has numbers that are not in its palette; repair or remove it')
    if colors.max(initial=0) > 255:  # 16 bits, as the TIFF specification has it
        colors = colors >> 8
    table, drawn = colors.astype(np.uint8).T, np.empty((*img.shape[:2], 3), np.uint8)
    for row, numbers in zip(drawn, img[..., 0], strict=True):  # indices of all take 8 bytes each
        row[...] = table[numbers]
    return drawn


def hide_nodata(img: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return ``img``, as a masked array if some values are ``nodata`` or, beside it, NaN."""
    if nodata is None or img.dtype.kind not in 'iuf':
        return img
    around = TOLERANCE * abs(nodata) if img.dtype.kind == 'f' else 0
    missing = (img >= np.float64(nodata - around)) & (img <= np.float64(nodata + around))
    if img.dtype.kind == 'f':
        missing |= np.isnan(img)
    return np.ma.array(img, mask=missing) if missing.any() else img
