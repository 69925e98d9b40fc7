"""Situations of public reports, re-created with this package, and what becomes of each now.

BEIT_MM_FUZZ_REPORT=FILE writes them, for the page that benchmarks/reliability.py makes.
"""

import functools
import json
import os
import re
from pathlib import Path

found: list[dict] = []
RIGHT, ERROR, WARNING = 'right result', 'error in words', 'warning'
MOST = 240  # letters of a message


def report(thread: str, kind: str):
    """Note what a test returns, under ``owner/name#number`` and what went wrong there.

    The test returns :func:`right`, :func:`error`, :func:`refused` or :func:`warning`.
    """

    def decorate(function):
        @functools.wraps(function)
        def noted(*args, **kwargs):
            now, words = function(*args, **kwargs)
            found.append(dict(thread=thread, kind=kind, now=now, words=words))

        return noted

    return decorate


def right(words: str) -> tuple[str, str]:
    return RIGHT, words


def error(caught) -> tuple[str, str]:
    """Return what pytest.raises caught."""
    return refused(str(caught.value))


def refused(message: str) -> tuple[str, str]:
    return ERROR, shorten(message)


def warning(message: str) -> tuple[str, str]:
    return WARNING, shorten(message)


def shorten(message: str) -> str:
    """Return the beginning of a message, without the folders of this machine, on one line."""
    message = re.sub(r'(?<![\w.])/(?:[\w.-]+/)+', '', ' '.join(message.split()))
    return message if len(message) <= MOST else f'{message[:MOST].rsplit(" ", 1)[0]} …'


def write() -> None:
    if path := os.environ.get('BEIT_MM_FUZZ_REPORT'):
        Path(path).write_text(json.dumps(found), encoding='utf-8')
