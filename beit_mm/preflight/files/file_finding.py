from dataclasses import dataclass


@dataclass(frozen=True)
class FileFinding:
    """One thing that is wrong with a file or folder.

    Attributes:
        level: ``error`` (training fails, or learns something else than is meant), ``warning``
            (look at it), ``note`` (good to know).
        kind: Its name, such as ``mask-size``; docs/data.md lists them.
        path: The file or folder.
        message: What was found, what was expected, what to do.
    """

    level: str
    kind: str
    path: str
    message: str

    def __str__(self) -> str:
        return f'{self.level}: {self.kind}: {self.path}: {self.message}'
