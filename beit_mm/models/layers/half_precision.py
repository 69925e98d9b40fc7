"""Half precision on this CPU: which types it has units for, and how slow the others are."""

import time
from functools import cache

import torch

SIDE, REPEATS = 256, 3  # of the products that are timed
SLOW = 2.0  # times as long as in float32


def _fast_halves() -> frozenset[torch.dtype]:
    """Return the half precisions that this CPU multiplies matrices in."""
    try:
        units = torch.cpu.get_capabilities()
    except AttributeError:  # of PyTorch before 2.13
        return frozenset()
    names = {
        torch.bfloat16: ('avx512_bf16', 'amx_bf16'),
        torch.float16: ('avx512_fp16', 'amx_fp16'),
    }
    return frozenset(dtype for dtype, known in names.items() if any(map(units.get, known)))


FAST_HALVES = _fast_halves()


@cache
def slowdown(dtype: torch.dtype) -> float:
    """Return how many times as long a matrix product takes in ``dtype`` as in float32.

    It is measured on the CPU, once in a process.
    """
    return _seconds(dtype) / _seconds(torch.float32)


def describe_slowdown(dtype: torch.dtype) -> str | None:
    """Say that float32 is faster on this CPU, and how much; None where it is not."""
    if dtype in FAST_HALVES or slowdown(dtype) < SLOW:
        return None
    name = str(dtype).removeprefix('torch.')
    return (
        f'a matrix product takes {slowdown(dtype):.0f} times as long in {name} as in float32 on '
        'this CPU, which has no units for it; take float32 here'
    )


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    matrix, times = torch.zeros(SIDE, SIDE, dtype=dtype), []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        times.append(time.perf_counter() - start)
    return min(times)
