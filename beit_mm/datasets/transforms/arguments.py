"""Checks of arguments that several transforms have."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

from beit_mm.contracts import UserError


def check_pair(key: str, value: Any, expected: str) -> tuple[int, int]:
    """Return one positive integer, or two of them, as a pair.

    Raises:
        UserError: ``value`` is neither; the message names ``key`` and what is ``expected``.
    """
    pair = (value, value) if isinstance(value, Integral) else value
    if (
        not isinstance(pair, Sequence)
        or len(pair) != 2
        or not all(isinstance(side, Integral) and side > 0 for side in pair)
    ):
        raise UserError(f'{key}={value!r}: expected a positive integer or {expected}')
    return int(pair[0]), int(pair[1])


def check_range(key: str, value: Any) -> tuple[float, float]:
    """Return (min, max) of a range of positive numbers, or raise a UserError."""
    if (
        not isinstance(value, Sequence)
        or len(value) != 2
        or not all(isinstance(bound, Real) for bound in value)
        or not 0 < value[0] <= value[1]
    ):
        raise UserError(f'{key}={value!r}: expected (min, max) with 0 < min <= max')
    return float(value[0]), float(value[1])
