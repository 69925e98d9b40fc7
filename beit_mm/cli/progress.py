import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS = 10  # between two lines


class Progress:
    """Context manager that shows on stderr how much of a long task is done.

    A terminal gets a bar, anything else a line every ten seconds and one at the end.

    Args:
        what: Name of the task.
        total: Number of its items.
        done: Items that an earlier run has finished.

    Attributes:
        done: Items that are finished.
    """

    def __init__(self, what: str, total: int, done: int = 0):
        self.what, self.total, self.done = what, total, done
        console = Console(stderr=True)
        columns = [TextColumn('{task.description}'), BarColumn(), MofNCompleteColumn()]
        columns.append(TimeRemainingColumn())
        self.bar = Bar(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> 'Progress':
        self.first, self.begun = self.done, time.monotonic()
        self.told = self.begun
        if self.bar is not None:
            self.task = self.bar.add_task(self.what, total=self.total, completed=self.done)
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
            left = int((self.total - self.done) / rate)
            eta = f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
            line = f'{self.what}: {self.done} of {self.total}, {rate:.0f}/s, ETA {eta}'
            print(line, file=sys.stderr, flush=True)
