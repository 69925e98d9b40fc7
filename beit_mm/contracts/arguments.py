"""Checks of arguments that a config gives to a plugin."""

from collections.abc import Collection
from numbers import Integral

from beit_mm.contracts.errors import UserError


def check_integers(owner: str, least: int, **values: int) -> None:
    """Raise a UserError unless all arguments ``values`` of ``owner`` are integers >= ``least``."""
    for name, value in values.items():
        if not isinstance(value, Integral) or value < least:
            raise UserError(f'{owner}.{name}={value!r}: expected an integer >= {least}')


def check_choice(owner: str, known: Collection, **values: object) -> None:
    """Raise a UserError unless all arguments ``values`` of ``owner`` are among ``known``."""
    for name, value in values.items():
        if value not in tuple(known):
            raise UserError(f'{owner}.{name}={value!r}: expected one of {tuple(known)}')
