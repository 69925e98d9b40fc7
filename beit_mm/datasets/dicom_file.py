"""Reading DICOM files by pydicom, which is an extra."""

import math
import zlib
from io import BytesIO

import numpy as np

from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need
from beit_mm.datasets.image_files import ImageTooLargeError, check_encoded, max_bytes, refuse_larger

RLE_FACTOR = 64  # two bytes of PackBits become at most 128


def read_dicom(path: str, content: bytes) -> np.ndarray:
    """Return (H, W, C) in the units of the file, Hounsfield for CT; frames become bands.

    The slope and intercept of the file are applied: int16 where that loses nothing, else float32.
    Without them, values where 0 is white (MONOCHROME1) are inverted. Numbers of a palette become
    colors. Pixels of the padding value are masked.

    Raises:
        UserError: The file is broken. ImageTooLargeError: its pixels take too much memory.
        MissingPackageError: pydicom is not there.
    """
    pydicom = need('pydicom', f'{path}, a DICOM image,')
    try:
        _check_deflated(content)
        return _read_values(pydicom.dcmread(BytesIO(content)))
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f'{path} {error}') from error
    except Exception as error:  # whatever a broken file makes of the parser
        raise UserError(f'{path} is not a DICOM image that pydicom can read: {error}') from error


def _check_deflated(content: bytes) -> None:
    """Refuse a file that is compressed as a whole and unpacks to more than one image may take."""
    from pydicom import filereader, uid

    file = BytesIO(content)
    filereader.read_preamble(file, force=False)
    syntax = filereader._read_file_meta_info(file).get('TransferSyntaxUID')
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        refuse_larger(len(unpacker.decompress(file.read(), max_bytes() + 1)))


def _read_values(data) -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    shape = int(data.get('NumberOfFrames') or 1), data.Rows, data.Columns, data.SamplesPerPixel
    kind = data.get('PhotometricInterpretation')
    channels = 3 if kind == 'PALETTE COLOR' else 1
    slope, intercept = float(data.get('RescaleSlope', 1)), float(data.get('RescaleIntercept', 0))
    bytes_each = -(-data.BitsAllocated // 8)
    if (slope, intercept) != (1, 0):
        bytes_each = max(bytes_each, np.float32().itemsize)
    refuse_larger(math.prod(shape) * channels * bytes_each)
    _check_frames(data, shape[0])
    frames = _hide_padding(data, data.pixel_array.reshape(shape))
    if kind == 'PALETTE COLOR':
        frames = apply_color_lut(frames[..., 0], data)
        frames = (frames >> 8).astype(np.uint8) if frames.itemsize > 1 else frames
    elif (slope, intercept) != (1, 0) or frames.dtype.name in ('int32', 'uint32'):
        frames = _rescale(frames, slope, intercept)
    elif kind == 'MONOCHROME1' and frames.dtype.kind in 'iu':
        white = -1 if data.PixelRepresentation else 2**data.BitsStored - 1
        frames = frames.dtype.type(white) - frames
    return frames.transpose(1, 2, 0, 3).reshape(*shape[1:3], -1)


def _check_frames(data, count: int) -> None:
    """Refuse compressed frames that unpack to more than one image may take."""
    from pydicom import encaps, uid

    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        for frame in encaps.generate_frames(data.PixelData, number_of_frames=count):
            if syntax == uid.RLELossless:
                refuse_larger(RLE_FACTOR * len(frame))
            else:
                check_encoded(frame)


def _hide_padding(data, frames: np.ndarray) -> np.ndarray:
    value = data.get('PixelPaddingValue')
    limit = data.get('PixelPaddingRangeLimit', value)
    if value is None or data.SamplesPerPixel > 1:
        return frames
    missing = (frames >= min(value, limit)) & (frames <= max(value, limit))
    return np.ma.array(frames, mask=missing) if missing.any() else frames


def _rescale(frames: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Compute in float64, row by row: of all frames it would take 8 to 16 times the memory."""
    ends = [float(end) * slope + intercept for end in (frames.min(), frames.max())]
    small = np.iinfo(np.int16)
    whole = slope.is_integer() and intercept.is_integer()
    fits = whole and min(ends) >= small.min and max(ends) <= small.max
    values = frames.astype(np.int16 if fits else np.float32)
    for row in range(frames.shape[1]):
        values[:, row] = frames[:, row] * np.float64(slope) + intercept
    return values
