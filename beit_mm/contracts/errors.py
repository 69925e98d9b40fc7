"""The errors that a user can mend."""

from beit_mm.contracts.printable import printable


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
