"""Reading DICOM files by pydicom, which is an extra."""

from io import BytesIO

import numpy as np

from beit_mm.contracts import MissingPackageError, UserError
from beit_mm.datasets.image_files import ImageTooLargeError, refuse_larger

DEFLATED, MOST_UNPACKED = b'1.2.840.10008.1.2.1.99', 1032  # pydicom unpacks the whole file


def read_dicom(path: str, content: bytes) -> np.ndarray:
    """Return (H, W, C) in the units of the file, Hounsfield for CT; frames become bands.

    The slope and intercept of the file are applied: int16 where that loses nothing, else float32.

    Raises:
        UserError: The file is broken. ImageTooLargeError: its pixels take too much memory.
        MissingPackageError: pydicom is not there.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingPackageError(f'{path} is DICOM; pip install pydicom') from error
    try:
        if DEFLATED in content[:2048]:
            refuse_larger(MOST_UNPACKED * len(content))
        data = pydicom.dcmread(BytesIO(content))
        shape = int(data.get('NumberOfFrames') or 1), data.Rows, data.Columns, data.SamplesPerPixel
        refuse_larger(int(np.prod(shape, dtype=object)) * -(-data.BitsAllocated // 8))
        frames = data.pixel_array.reshape(shape)
        slope, intercept = (
            float(data.get(name, value))
            for name, value in (('RescaleSlope', 1), ('RescaleIntercept', 0))
        )
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f'{path} {error}') from error
    except Exception as error:  # whatever a broken file makes of the parser
        raise UserError(f'{path} is not a DICOM image that pydicom can read: {error}') from error
    img = frames.transpose(1, 2, 0, 3).reshape(*shape[1:3], -1)
    if (slope, intercept) == (1, 0) and img.dtype != np.int32:
        return img
    values = img * np.float64(slope) + intercept
    small = np.iinfo(np.int16)
    whole = slope.is_integer() and intercept.is_integer()
    fits = whole and values.min() >= small.min and values.max() <= small.max
    return values.astype(np.int16 if fits else np.float32)
