from dataclasses import dataclass

LEVELS = ('error', 'warning', 'note')


@dataclass(frozen=True)
class Finding:
    """One result of a check that is made before a training.

    Attributes:
        level: ``error`` (training fails, or learns something else than is meant), ``warning``
            (probably not meant) or ``note`` (good to know).
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
        return ': '.join(part for part in parts if part)
