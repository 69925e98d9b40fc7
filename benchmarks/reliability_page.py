"""docs/reliability.md: what was tried, and what survived."""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUZZ = sorted((ROOT / 'tests/fuzz').glob('test_*.py'))
CHAOS = {kind: ROOT / f'benchmarks/chaos/{kind}.py' for kind in ('iter', 'epoch', 'two')}
PAGE = """\
# What was broken on purpose

Written by

```bash
python benchmarks/reliability.py --out docs/reliability.md
```

which tries all of it again ({hours:.1f} hours for what is listed here). The test suite tries a
small part of each. [resume.md](resume.md), [data.md](data.md) and [checkpoints.md](checkpoints.md)
say what is promised.

{summary}

An input survives when its property holds: a damaged file gives the same content or an error that
names it, nothing in a file is executed, a shape, range, order or identity is what it has to be. A
fault of the disk, or the death of the process while it writes a checkpoint, survives when a whole
checkpoint is resumed after it. A killed training survives when it ends with the bits of the one
that was left alone: weights, EMA, optimizer, schedules, place in the data, logged losses.

All inputs that were generated are counted. Damaged images that declare more than ten million
pixels are not loaded (the corpus has such files).

## Properties
{properties}
## Kills
{kills}
## Machine

{machine}
"""


def write_page(results: Mapping[str, dict], missing: list[str]) -> str:
    """Return the page on what the areas found.

    Args:
        results: Name of an area -> what it found.
        missing: Areas that were not tried.
    """
    fuzz = {n: r for n, r in results.items() if 'tried' in r}
    kills = {n.removeprefix('chaos-'): r for n, r in results.items() if 'rows' in r}
    properties = [line for name, result in fuzz.items() for line in list_properties(name, result)]
    if missing:
        properties += ['', f'Not tried for this page: {", ".join(missing)}.']
    facts = list(results.values())[-1]['machine']
    return PAGE.format(
        hours=sum(result['seconds'] for result in results.values()) / 3600,
        summary='\n'.join(summarize(fuzz, kills)),
        properties='\n'.join([*properties, '']),
        kills='\n'.join([*(f'\n{list_kills(kind, r)}' for kind, r in kills.items()), '']),
        machine=wrap(', '.join(f'{name} {fact}' for name, fact in facts.items()) + '.'),
    )


def summarize(fuzz: Mapping[str, dict], kills: Mapping[str, dict]) -> list[str]:
    """Return the lines of a table with a row for each area and their sum."""
    rows = []
    for name, result in fuzz.items():
        number = sum(result['tried'].values())
        counts = ['', number] if name == 'disk_faults' else [number, '']
        rows.append([title_of(name), *counts, '', len(result['failed'])])
    for kind, result in kills.items():
        title = f'SIGKILL: {first_sentence(CHAOS[kind])}'
        rows.append([title, '', '', len(result['rows']), len(result['found'])])
    rows.append(['all', *(sum(row[i] for row in rows if row[i] != '') for i in range(1, 5))])
    return make_table(['Area', 'Inputs', 'Disk faults', 'Kills', 'Did not survive'], rows)


def list_properties(name: str, result: dict) -> Iterator[str]:
    yield from ('', wrap(f'{title_of(name)} (`tests/fuzz/test_{name}.py`):'), '')
    tried = [[as_words(test), number] for test, number in result['tried'].items()]
    yield from make_table(['Property', 'Inputs'], tried)
    if result['skipped']:
        yield from ('', f'{result["skipped"]} tests could not run here.')
    if result['failed']:
        yield from ('', f'Failed: {", ".join(result["failed"])}.')


def list_kills(kind: str, result: dict) -> str:
    places = [f'{row["reached"]} ({row["saved"]})' for row in result['rows']]
    writing = sum(row['writing'] for row in result['rows'])
    title = first_sentence(CHAOS[kind])
    return wrap(
        f'**{title[0].upper()}{title[1:]}.** Killed in iteration (last checkpoint): '
        f'{", ".join(places)}; {writing} of them with a file half written. Places that differ '
        f'from the training that was left alone: {len(result["found"])}.'
    )


def wrap(paragraph: str) -> str:
    return textwrap.fill(paragraph, 118, break_long_words=False, break_on_hyphens=False)


def title_of(name: str) -> str:
    return first_sentence(ROOT / f'tests/fuzz/test_{name}.py')


def first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8')))
    return text.splitlines()[0].rstrip('.')


def as_words(test: str) -> str:
    name = test.split('::')[-1].removeprefix('test_')
    return name.replace('__', ': ').replace('_', ' ')


def make_table(head: list[str], rows: list[list]) -> list[str]:
    rows = [[f'{cell:,}' if isinstance(cell, int) else cell for cell in row] for row in rows]
    return ['| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows]]
