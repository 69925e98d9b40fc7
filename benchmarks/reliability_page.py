"""docs/reliability.md: what was tried, and what survived."""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FUZZ = sorted((ROOT / 'tests/fuzz').glob('test_*.py'))
REPORTS = sorted((ROOT / 'tests/parity').glob('test_reports_of_*.py'))
# Test files whose cases are faults made by hand, below tests/.
BY_HAND = (
    *('checkpoints/test_hostile_files.py', 'checkpoints/test_download.py'),
    *('checkpoints/store/test_foreign_work_dir.py', 'checkpoints/store/test_resume_fit.py'),
    *('datasets/test_worker_errors.py', 'preflight/files/test_file_checks.py'),
    *('preflight/files/test_tiff_checks.py', 'preflight/config/test_config_check.py'),
    *('preflight/config/test_labels.py', 'preflight/config/test_valid_configs.py'),
    *('preflight/run/test_run_checks.py', 'preflight/run/test_masks.py'),
    *('preflight/run/test_filled.py', 'preflight/run/test_class_order.py'),
    *('preflight/config/test_evaluation.py', 'engine/test_resume_names.py'),
    *('datasets/test_image_files.py', 'datasets/transforms/test_load_file_formats.py'),
    *('datasets/test_nodata.py', 'datasets/test_value_range.py'),
    *('apis/test_reports_of_others.py', 'preflight/config/test_pipelines.py'),
)
BY_HAND = {Path(name).stem.removeprefix('test_'): ROOT / 'tests' / name for name in BY_HAND}
CHAOS = {kind: ROOT / f'benchmarks/chaos/{kind}.py' for kind in ('iter', 'epoch', 'two')}
PAGE = """\
# What was broken on purpose

Written by

```bash
{command}
```

which tries all of it again ({hours:.1f} hours for what is listed here). The test suite tries a
small part of each. [resume.md](resume.md), [data.md](data.md) and [checkpoints.md](checkpoints.md)
say what is promised.

{summary}

An input survives when its property holds: a damaged file gives the same content or an error that
names it, nothing in a file is executed, a shape, range, order or identity is what it has to be. A
fault of the disk, or the death of the process while it writes a checkpoint, survives when a whole
checkpoint is resumed after it. A killed training survives when it ends with the bits of the one
that was left alone: weights, EMA, optimizer, schedules, place in the data, logged losses. A stop is
a signal to the process group, as batch systems send it; it survives when all steps that were logged
are in a checkpoint and the status says so. A config of another library survives when the check
before training finds no error in it, or MMEngine fails at it too.

All inputs that were generated are counted. Damaged images that declare more than ten million
pixels are not loaded (the corpus has such files).

## Properties
{properties}
## Public reports

What others have reported of BEiT's implementations and of the libraries around it, made anew with
this package in `tests/parity`. Messages are shortened.

{reports}

## Configs of other libraries

The check before training ran over every config that the installed libraries bring.

{configs}

## Kills and stops
{kills}
## Machine

{machine}
"""


def write_page(results: Mapping[str, dict], missing: list[str], command: str) -> str:
    """Return the page on what the areas found.

    Args:
        results: Name of an area -> what it found.
        missing: Areas that were not tried.
        command: That makes the page anew.
    """
    fuzz = {n: r for n, r in results.items() if r.get('tried')}
    kills = {n.removeprefix('chaos-'): r for n, r in results.items() if 'rows' in r}
    properties = [line for name, result in fuzz.items() for line in list_properties(name, result)]
    if missing:
        properties += ['', f'Not tried for this page: {", ".join(missing)}.']
    facts = list(results.values())[-1]['machine']
    stops = results['stops'].get('stops', []) if 'stops' in results else []
    return PAGE.format(
        command=command,
        hours=sum(result['seconds'] for result in results.values()) / 3600,
        summary='\n'.join(summarize(results)),
        properties='\n'.join([*properties, '']),
        reports='\n'.join(list_reports(results)),
        configs='\n'.join(list_configs(results.get('configs', {}).get('libraries', {}))),
        kills='\n'.join(
            [*(f'\n{list_kills(kind, r)}' for kind, r in kills.items()), *list_stops(stops), '']
        ),
        machine=wrap(', '.join(f'{name} {fact}' for name, fact in facts.items()) + '.'),
    )


def summarize(results: Mapping[str, dict]) -> list[str]:
    """Return the lines of a table with a row for each area and their sum."""
    rows = []
    for name, result in results.items():
        bad = len(result.get('failed', result.get('found', ())))
        if 'rows' in result:
            title = f'SIGKILL: {first_sentence(CHAOS[name.removeprefix("chaos-")])}'
            counts = '', '', len(result['rows'])
        elif 'stops' in result:
            title = f'SIGTERM: {first_sentence(CHAOS["iter"])}'
            counts = '', '', len(result['stops'])
        elif 'libraries' in result:
            title = 'Configs of other libraries in the check before training'
            counts = sum(c['configs'] for c in result['libraries'].values()), '', ''
        elif name == 'disk_faults':
            title, counts = title_of(name), ('', sum(result['tried'].values()), '')
        elif name.startswith('hand-'):
            title = first_sentence(BY_HAND[name.removeprefix('hand-')])
            counts = result['tests'] - result['skipped'], '', ''
        else:
            title = title_of(name)
            tried = sum(result.get('tried', {}).values()) or len(result.get('reports', ()))
            counts = tried or result['tests'] - result['skipped'], '', ''
        rows.append([title, *counts, bad])
    rows.append(['all', *(sum(row[i] for row in rows if row[i] != '') for i in range(1, 5))])
    return make_table(['Area', 'Inputs', 'Disk faults', 'Kills', 'Did not survive'], rows)


def list_reports(results: Mapping[str, dict]) -> list[str]:
    rows = []
    for report in (one for result in results.values() for one in result.get('reports', ())):
        name, _, number = report['thread'].partition('#')
        link = f'[{name} {number}](https://github.com/{name}/issues/{number})'
        words = report['words'].replace('|', '\\|')
        rows.append([report['kind'], link, f'{report["now"]}: {words}'])
    return make_table(['Reported', 'Thread', 'Now'], rows)


def list_configs(libraries: Mapping[str, dict]) -> list[str]:
    names = ['configs', 'with warnings', 'with errors', 'with errors, where MMEngine fails too']
    names += ['with errors, where MMEngine trains', 'that MMEngine cannot read']
    rows = [[library, *(c.get(name, 0) for name in names)] for library, c in libraries.items()]
    return make_table(['Library', *names], rows)


def list_stops(stops: list[dict]) -> list[str]:
    if not stops:
        return []
    places = [f'{stop["reached"]} ({stop["last"]})' for stop in stops]
    saved = sum(stop['saved'] for stop in stops)
    words = (
        f'**SIGTERM to the process group of the first.** Last logged (last saved) iteration: '
        f'{", ".join(places)}; {saved} of {len(stops)} saved.'
    )
    return ['', wrap(words)]


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
    return first_sentence(file_of(name))


def file_of(name: str) -> Path:
    return next(file for file in (*FUZZ, *REPORTS) if file.stem == f'test_{name}')


def first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8')))
    return text.splitlines()[0].rstrip('.')


def as_words(test: str) -> str:
    name = test.split('::')[-1].removeprefix('test_')
    return name.replace('__', ': ').replace('_', ' ')


def make_table(head: list[str], rows: list[list]) -> list[str]:
    rows = [[f'{cell:,}' if isinstance(cell, int) else cell for cell in row] for row in rows]
    return ['| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows]]
