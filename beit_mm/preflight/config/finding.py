from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that a config says and can hardly mean.

    Attributes:
        level: ``error`` (training would fail, or run something else) or ``warning``.
        key: Where, as --cfg-options writes it.
        message: What was found, what was expected, what to change.
    """

    level: str
    key: str
    message: str

    def __str__(self) -> str:
        return f'{self.level}: {self.key}: {self.message}'
