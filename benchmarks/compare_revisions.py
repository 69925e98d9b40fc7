"""Run a benchmark in two revisions of this repository by turns, and compare its figures.

    python benchmarks/compare_revisions.py main my-branch -- \
        python benchmarks/training_step.py --quick --out {out}

Each revision is checked out into a folder of its own. ``{out}`` stands for the JSON file that the
command writes; it has to take one. Prints the median of each number in the two, and their ratio.
Run it where nothing else runs. ``python`` is the interpreter of this script.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def numbers(value: Any, path: str = '') -> Iterator[tuple[str, float]]:
    """Yield the numbers of a JSON value with their places, such as ``rows.0.seconds.ours``."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    parts = value.items() if isinstance(value, dict) else ()
    parts = enumerate(value) if isinstance(value, list) else parts
    for name, part in parts:
        yield from numbers(part, f'{path}.{name}'.lstrip('.'))


def run(command: list[str], checkout: Path, out: Path) -> dict[str, float]:
    """Run the command in a checkout and return the numbers that it writes."""
    words = [sys.executable if word == 'python' else word for word in command]
    words = [word.replace('{out}', str(out)) for word in words]
    path = os.pathsep.join(filter(None, [str(checkout), os.environ.get('PYTHONPATH')]))
    subprocess.run(
        words,
        cwd=checkout,
        env=dict(os.environ, PYTHONPATH=path),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return dict(numbers(json.loads(out.read_text())))


def compare(revisions: list[str], command: list[str], rounds: int) -> list[tuple]:
    """Return for each number its place, both medians and the ratio of the second to the first."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {}
        for place, revision in enumerate(revisions):
            checkouts[place] = Path(folder) / str(place)
            git('worktree', 'add', '--detach', '--quiet', str(checkouts[place]), revision)
        try:
            for _ in range(rounds):
                for place, checkout in checkouts.items():
                    for name, value in run(command, checkout, Path(folder) / 'out.json').items():
                        found[name][place].append(value)
        finally:
            for checkout in checkouts.values():
                git('worktree', 'remove', '--force', str(checkout))
    rows = []
    for name, values in found.items():
        if len(values) == 2:  # in both
            before, after = (statistics.median(values[place]) for place in (0, 1))
            rows.append((name, before, after, after / before if before else float('nan')))
    return rows


def git(*words: str) -> None:
    subprocess.run(['git', *words], cwd=ROOT, check=True)


def main() -> None:
    own, _, command = ' '.join(sys.argv[1:]).partition(' -- ')
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('revisions', nargs=2, help='branches or commits; the ratio is to the first')
    parser.add_argument('--rounds', type=int, default=3)
    args = parser.parse_args(own.split())
    if '{out}' not in command:
        parser.error('give the command behind --, with {out} for the JSON file that it writes')
    for name, before, after, ratio in compare(args.revisions, command.split(), args.rounds):
        print(f'{name:50} {before:12.5g} {after:12.5g} {ratio:8.3f}')


if __name__ == '__main__':
    main()
