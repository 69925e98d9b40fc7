from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from beit_mm.contracts.errors import printable

LEVELS = ('error', 'warning', 'note')


@dataclass(frozen=True)
class Finding:
    """One result of a check that is made before a training.

    Attributes:
        level: ``error``, ``warning`` or ``note``, see the methods that make one.
        place: The config key, as ``--cfg-options`` writes it, or the path of a file or folder.
        message: What was found, what was expected, what to change.
        kind: Short name of the check, such as ``mask-size``; empty for checks of a config.
    """

    level: str
    place: str
    message: str
    kind: str = ''

    @classmethod
    def error(cls, place: str, message: str, kind: str = '') -> 'Finding':
        """Return what is certain: the training fails, or a sample is lost or wrong."""
        return cls('error', place, message, kind)

    @classmethod
    def warning(cls, place: str, message: str, kind: str = '') -> 'Finding':
        """Return what is probably not meant, but trains."""
        return cls('warning', place, message, kind)

    @classmethod
    def note(cls, place: str, message: str, kind: str = '') -> 'Finding':
        """Return what is good to know."""
        return cls('note', place, message, kind)

    def __str__(self) -> str:
        parts = (self.level, self.kind, self.place, self.message)
        return printable(': '.join(part for part in parts if part))


def guarded(
    findings: Iterable[Finding], name: str, passed: tuple[type[Exception], ...] = ()
) -> Iterator[Finding]:
    """Pass findings on; a check that fails, of values that nobody thought of, ends no training.

    Args:
        name: Of the check.
        passed: Errors that are raised all the same.
    """
    try:
        yield from findings
    except passed:
        raise
    except Exception as error:
        message = f'this check failed and was left out ({type(error).__name__}: {error})'
        yield Finding.warning(name, message)
