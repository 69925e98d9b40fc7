import os
from functools import cache

MAX_GIB = 'BEIT_MM_MAX_IMAGE_GIB'
DEFAULT_GIB = 1.5  # 250 megapixels of three 16-bit channels


@cache
def bytes_of(gib: str | float) -> int | None:
    """Return how many bytes the limit ``gib`` is; None if it is no positive number."""
    try:
        size = float(gib)
    except ValueError:
        return None
    return int(size * 2**30) if 0 < size < 2**20 else None


def limit_opencv() -> None:
    """Let OpenCV decode no image of more pixels than one image may take; before its import.

    It reads formats whose size no check before the decoding knows. ``max_bytes`` of
    ``beit_mm.datasets.image_files`` says what is wrong with the variable.
    """
    pixels = (bytes_of(os.environ.get(MAX_GIB, DEFAULT_GIB)) or 0) // 3
    if pixels > 0:
        os.environ.setdefault('OPENCV_IO_MAX_IMAGE_PIXELS', str(pixels))
