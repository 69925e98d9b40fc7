"""The errors that a user can mend, the checks of arguments that raise them, and warnings."""

import logging
from collections.abc import Collection, Sequence
from numbers import Integral

from mmengine.logging import print_log


def printable(text: object) -> str:
    r"""Return ``str(text)`` with what is no visible character written as an escape, as in \x1b.

    Names come from files of anybody, and a terminal obeys control characters; those that reverse
    the direction of text hide what a name is. Line ends and tabs stay, and so do letters of every
    script.
    """
    return ''.join(
        c if c.isprintable() or c in '\n\t' else c.encode('unicode_escape').decode()
        for c in str(text)
    )


def some(names: Sequence[str], limit: int = 4) -> str:
    """Join the first names, and say how many more there are."""
    rest = len(names) - limit
    return ', '.join(names[:limit]) + (f' and {rest} more' if rest > 0 else '')


class UserError(ValueError):
    """Something in a config, a command or a file that its user can mend.

    The message names the key or the file, what was found, what was expected and what to change.
    The command line prints it without a traceback. Control characters of names are escaped.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a config or a command names does not exist."""


class MissingPackageError(UserError, ImportError):
    """An optional package is needed and not installed."""


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


def warn(message: str) -> None:
    """Write a warning to the log of the run."""
    print_log(message, logger='current', level=logging.WARNING)
