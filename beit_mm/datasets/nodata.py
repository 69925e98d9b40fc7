"""Pixels without data: the value that says so, and arrays in which they are masked."""

import numpy as np

TOLERANCE = 1e-5  # of floating-point values, which tags of GDAL have as decimals


def hide_nodata(img: np.ndarray, nodata: float | None) -> np.ndarray:
    """Return ``img``, as a masked array if some values are ``nodata`` or, beside it, NaN."""
    if nodata is None:
        return img
    around = TOLERANCE * abs(nodata) if img.dtype.kind == 'f' else 0
    missing = (img >= np.float64(nodata - around)) & (img <= np.float64(nodata + around))
    if img.dtype.kind == 'f':
        missing |= np.isnan(img)
    return np.ma.array(img, mask=missing) if missing.any() else img


def parse_nodata(text: object) -> float | None:
    """Return the number of a GDAL_NODATA tag, or None if it has none."""
    try:
        return float(str(text).strip('\0 '))
    except ValueError:
        return None
