"""The code of a page in docs/, read and run as it stands there."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from beit_mm.cli.main import run_verb

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r'^```(\w+)\n(.*?)^```', re.S | re.M)


def read(name: str) -> str:
    return (ROOT / 'docs' / name).read_text(encoding='utf-8')


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and text of each code block."""
    return BLOCK.findall(page)


def commands(code: str) -> list[list[str]]:
    """Return the words of each ``beit-mm`` command of a block, without ``beit-mm``."""
    lines = code.replace('\\\n', ' ').splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith('beit-mm ')]


def run(page: str, more: Callable[[str, list[str]], list[str] | None]) -> list[str]:
    """Run the code of a page in the current folder, in its order.

    Python that begins with the comment `# FILE` is written to that file, other Python is run.
    Commands of ``beit-mm`` are run in this process, with what ``more`` adds to verb and words; one
    for which that is None is left out.

    Returns:
        The verbs that were run.
    """
    done = []
    for language, code in blocks(page):
        name = re.match(r'# (\S+\.py)\n', code)
        if language == 'python' and name:
            Path(name[1]).write_text(code)
        elif language == 'python':
            exec(compile(code, 'page', 'exec'), {})
        elif language == 'bash':
            for verb, *words in commands(code):
                if (added := more(verb, words)) is None:
                    continue
                with mock.patch.object(sys, 'argv', sys.argv):  # each verb sets it
                    try:
                        run_verb([verb, *words, *added])
                    except SystemExit as end:
                        assert not end.code, f'beit-mm {verb} ended with status {end.code}'
                done.append(verb)
    return done
