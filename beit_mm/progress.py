import sys
import time

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bar

from beit_mm.contracts.errors import printable

SECONDS = 10  # between two lines
MB = 10**6


class Progress:
    """Context manager that shows on stderr how much of a long task is done.

    A terminal gets a bar, anything else a line every ten seconds and one at the end.

    Args:
        what: Name of the task.
        total: Number of its items; None where nobody knows.
        done: Items that an earlier run has finished.
        in_bytes: The items are bytes, which are shown as megabytes.

    Attributes:
        done: Items that are finished.
    """

    def __init__(self, what: str, total: int | None, done: int = 0, in_bytes: bool = False):
        self.what, self.total, self.done = printable(what), total, done
        self.unit, self.name = (MB, ' MB') if in_bytes else (1, '')
        console = Console(stderr=True)
        columns = [TextColumn('{task.description}'), BarColumn()]
        amount = [DownloadColumn(), TransferSpeedColumn()] if in_bytes else [MofNCompleteColumn()]
        columns += [*amount, TimeRemainingColumn()]
        self.bar = Bar(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> 'Progress':
        self.first, self.begun = self.done, time.monotonic()
        self.told = self.begun
        if self.bar is not None:
            self.task = self.bar.add_task(escape(self.what), total=self.total, completed=self.done)
            self.bar.start()
        return self

    def __exit__(self, *error) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self, number: int = 1) -> None:
        """Count ``number`` items as finished."""
        self.done += number
        now = time.monotonic()
        if self.bar is not None:
            self.bar.advance(self.task, number)
        elif now - self.told >= SECONDS or self.done == self.total:
            self.told = now
            rate = (self.done - self.first) / max(now - self.begun, 1e-9)
            line = f'{self.what}: {self._amount(self.done)}'
            if self.total is not None:
                line += f' of {self._amount(self.total)}'
            line += f'{self.name}, {rate / self.unit:.{0 if self.unit == 1 else 1}f}{self.name}/s'
            if self.total is not None and rate > 0:
                left = int((self.total - self.done) / rate)
                line += f', ETA {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
            print(line, file=sys.stderr, flush=True)

    def _amount(self, number: int) -> str:
        return str(number) if self.unit == 1 else f'{number / self.unit:.1f}'
