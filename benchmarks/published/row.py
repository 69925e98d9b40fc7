from typing import NamedTuple


class Published(NamedTuple):
    """A published number or rule, and what is here. ``allowed`` is for ``error``."""

    what: str
    source: str
    published: str
    here: str
    error: float
    allowed: float


def compare_number(
    what: str, source: str, published: float, here: float, allowed: float, form: str = '.4g'
) -> Published:
    """Return the row of two numbers."""
    error = abs(here - published)
    return Published(what, source, f'{published:g}', f'{here:{form}}', error, allowed)


def compare_rule(
    what: str, source: str, error: float, allowed: float, published: str = 'equal', here: str = ''
) -> Published:
    """Return the row of a rule that is compared value by value; shows the largest error."""
    return Published(what, source, published, here or f'{error:.1e}', error, allowed)
