import io
import sys

import pytest

from beit_mm import progress
from beit_mm.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


def test_lines__every_ten_seconds_and_at_the_end(clock, capsys):
    with Progress('images', total=7, done=1) as shown:
        for now in (101, 104, 110, 112, 115):
            clock.now = now
            shown.step()
        shown.step()
    assert shown.done == 7
    assert capsys.readouterr().err.splitlines() == [
        'images: 4 of 7, 0/s, ETA 0:00:10',  # 3 in 10 s; those of an earlier run took no time
        'images: 7 of 7, 0/s, ETA 0:00:00',
    ]


def test_lines__several_items_at_once(clock, capsys):
    with Progress('rows', total=40_000) as shown:
        clock.now += 10
        shown.step(1000)
    assert capsys.readouterr().err == 'rows: 1000 of 40000, 100/s, ETA 0:06:30\n'


def test_terminal__gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, 'stderr', Terminal())
    monkeypatch.setenv('TERM', 'xterm')
    with Progress('images', total=3) as shown:
        shown.step(2)
    text = sys.stderr.getvalue()
    assert '2/3' in text and '━' in text and 'ETA' not in text
