"""How a training on CPUs takes memory from the system."""

import contextlib
import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # options of glibc's mallopt(3)


def keep_memory() -> None:
    """Keep freed memory for the next step, and take large tensors in huge pages (Linux, glibc).

    Otherwise the memory of activations goes back to the system in each step, which empties and maps
    its pages again: 45,000 in a step of BEiT-B, 4 % of its time. Call it before the first tensor.
    What the environment says of huge pages stays.
    """
    os.environ.setdefault('THP_MEM_ALLOC_ENABLE', '1')  # read by torch
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another libc, or no Linux
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(MMAP_THRESHOLD, 32 << 20):  # the most that glibc takes
            mallopt(TRIM_THRESHOLD, (2 << 30) - 1)
