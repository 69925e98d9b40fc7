from dataclasses import dataclass

from beit_mm.contracts.printable import printable

LEVELS = ('error', 'warning', 'note')


@dataclass(frozen=True)
class Finding:
    """One result of a check that is made before a training.

    Attributes:
        level: ``error`` (certain: the training fails, or a sample is lost or wrong), ``warning``
            (probably not meant, but it trains) or ``note`` (good to know).
        place: The config key, as ``--cfg-options`` writes it, or the path of a file or folder.
        message: What was found, what was expected, what to change.
        kind: Short name of the check, such as ``mask-size``; empty for checks of a config.
    """

    level: str
    place: str
    message: str
    kind: str = ''

    def __str__(self) -> str:
        parts = (self.level, self.kind, self.place, self.message)
        return printable(': '.join(part for part in parts if part))
