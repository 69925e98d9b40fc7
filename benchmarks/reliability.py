"""Break what can break, count what survived, and write the figures as a page.

python benchmarks/reliability.py --out docs/reliability.md [--work-dir DIR]
    [--examples 2000] [--seed 0] [--kills 30] [--kills-two 10] [--areas chaos-iter ...]

Areas: each file of tests/fuzz (generated inputs, a corpus of broken files, disk faults), and
trainings that are killed (chaos_resume.py). What an area found is kept in DIR/AREA.json and taken
from there by the next call with the same options, so that a run of some hours can be cut off, and
areas can run one by one. The exit status is 1 if anything did not survive.
"""

import argparse
import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.chaos_resume import chaos  # noqa: E402

FUZZ = sorted((ROOT / 'tests/fuzz').glob('test_*.py'))

CHAOS_TITLES = dict(
    iter='iteration loop, 1 process: pre-training with 2 workers, accumulation of 2, EMA, dropout',
    epoch='epoch loop, 1 process: classification with a worker, EMA, drop path',
    two='epoch loop, 2 gloo processes: pre-training with a worker, accumulation of 2, EMA',
)
CHAOS = dict(
    iter="""
_base_ = '{root}/configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'
model = dict(backbone=dict(drop_path_rate=0.1, drop_rate=0.1))
train_dataloader = dict(
    batch_size=8, num_workers=2, dataset=dict(data_root='{data}/unlabelled')
)
val_dataloader = dict(batch_size=50, dataset=dict(data_root='{data}/val'))
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=40, end=620),
]
train_cfg = dict(max_iters=620, val_interval=50)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
""",
    epoch="""
_base_ = '{root}/configs/classification/beit-micro-p8_scratch_ft_digit-scenes-500.py'
model = dict(backbone=dict(drop_path_rate=0.1))
train_dataloader = dict(batch_size=16, dataset=dict(data_root='{data}'))
val_dataloader = dict(batch_size=50, dataset=dict(data_root='{data}'))
test_dataloader = val_dataloader
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=True, begin=2, end=20),
]
train_cfg = dict(_delete_=True, type='beit_mm.ResumableEpochLoop', max_epochs=20, val_interval=2)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
""",
    two="""
_base_ = '{root}/configs/pretrain/beit_beit-micro-p8-random-projection_digit-scenes.py'
model = dict(backbone=dict(drop_path_rate=0.1))
train_dataloader = dict(batch_size=4, dataset=dict(data_root='{data}/unlabelled'))
val_dataloader = dict(batch_size=50, dataset=dict(data_root='{data}/val'))
test_dataloader = val_dataloader
optim_wrapper = dict(accumulative_counts=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=40),
    dict(type='CosineAnnealingLR', eta_min=4e-5, by_epoch=False, begin=40, end=250),
]
train_cfg = dict(
    _delete_=True, type='beit_mm.ResumableEpochLoop', max_epochs=10, val_interval=2
)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=7))
log_processor = dict(by_epoch=True)
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.01)]
""",
)


def say(line: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {line}', file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What the figures depend on, besides chance."""
    cpu = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text())
    names = ('torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'numpy', 'hypothesis')
    return dict(
        system=f'{platform.system()} {platform.machine()}',
        cpu=f'{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores',
        python=platform.python_version(),
        **{name: version(name) for name in names},
    )


def run_chaos(kind: str, work_dir: Path, options: dict) -> dict:
    data = (work_dir / 'data').resolve()
    if not (data / 'meta/digit_scenes.json').is_file():
        tool = str(ROOT / 'tools/dataset_converters/digit_scenes.py')
        sizes = ['--unlabelled', '200', '--train', '600', '--val', '50']
        with (work_dir / 'data.log').open('w') as log:
            subprocess.run([sys.executable, tool, str(data), *sizes], check=True, stdout=log)
    folder = work_dir / f'chaos-{kind}'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder / 'config.py'
    config.write_text(CHAOS[kind].format(root=ROOT, data=data))
    nproc = 2 if kind == 'two' else 1
    rows, found = chaos(str(config), folder, options['kills'], 0, nproc, [], progress=say)
    return dict(rows=[row._asdict() for row in rows], found=found)


def run_fuzz(file: Path, work_dir: Path, options: dict) -> dict:
    """What its tests tried, and those that failed."""
    report, xml = (work_dir.resolve() / f'{file.stem}.{end}' for end in ('tried.json', 'xml'))
    environment = dict(os.environ, BEIT_MM_FUZZ_REPORT=str(report))
    environment['BEIT_MM_FUZZ_EXAMPLES'] = str(options['examples'])
    environment['BEIT_MM_FUZZ_SEED'] = str(options['seed'])
    command = [sys.executable, '-m', 'pytest', '-q', str(file), f'--junitxml={xml}']
    report.unlink(missing_ok=True)
    with (work_dir / f'{file.stem}.log').open('w') as log:
        subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    if not report.is_file():
        raise SystemExit(f'{file.name} did not run, see {work_dir / file.stem}.log')
    cases = list(ET.parse(xml).iter('testcase'))
    failed = [c.get('name') for c in cases if c.find('failure') is not None]
    failed += [c.get('name') for c in cases if c.find('error') is not None]
    skipped = sum(case.find('skipped') is not None for case in cases)
    tried = json.loads(report.read_text())
    return dict(tried=tried, tests=len(cases), skipped=skipped, failed=failed)


def areas_of(args: argparse.Namespace) -> dict[str, tuple]:
    """Name -> (function, its first argument, options)."""
    fuzz = dict(examples=args.examples, seed=args.seed)
    areas = {file.stem.removeprefix('test_'): (run_fuzz, file, fuzz) for file in FUZZ}
    for kind in CHAOS:
        kills = args.kills_two if kind == 'two' else args.kills
        areas[f'chaos-{kind}'] = (run_chaos, kind, dict(kills=kills))
    return areas


def results_of(args: argparse.Namespace) -> dict[str, dict]:
    """Of each area: from its file, or now."""
    areas = areas_of(args)
    for name in args.areas or ():
        if name not in areas:
            raise SystemExit(f'There is no area {name}; there are {", ".join(areas)}')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    results, begin, spent = {}, time.monotonic(), 0
    for number, (name, (function, subject, options)) in enumerate(areas.items()):
        path = args.work_dir / f'{name}.json'
        known = json.loads(path.read_text()) if path.is_file() else {}
        if known.get('options') == options:
            results[name] = known
            continue
        if args.areas and name not in args.areas:
            continue
        left = ''
        if spent:
            mean = (time.monotonic() - begin) / spent
            left = f', about {mean * (len(areas) - number) / 60:.0f} min left'
        say(f'{name} ({number + 1} of {len(areas)}){left}')
        start = time.monotonic()
        result = function(subject, args.work_dir, options)
        result.update(seconds=round(time.monotonic() - start), options=options, machine=machine())
        path.write_text(json.dumps(result, indent=1))
        results[name] = result
        spent += 1
    return results


def sentence_of(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding='utf-8')))
    return text.splitlines()[0].rstrip('.')


def words(test: str) -> str:
    name = test.split('::')[-1].removeprefix('test_')
    return name.replace('__', ': ').replace('_', ' ')


def table(head: list[str], rows: list[list]) -> list[str]:
    rows = [[f'{cell:,}' if isinstance(cell, int) else cell for cell in row] for row in rows]
    return ['| ' + ' | '.join(row) + ' |' for row in [head, ['---'] * len(head), *rows]]


def page(results: dict[str, dict], missing: list[str]) -> str:
    fuzz = {n: r for n, r in results.items() if 'tried' in r}
    kills = {n.removeprefix('chaos-'): r for n, r in results.items() if 'rows' in r}
    titles = {name: sentence_of(ROOT / f'tests/fuzz/test_{name}.py') for name in fuzz}
    rows = []
    for name, result in fuzz.items():
        number = sum(result['tried'].values())
        counts = ['', number] if name == 'disk_faults' else [number, '']
        rows.append([titles[name], *counts, '', len(result['failed'])])
    for kind, result in kills.items():
        rows.append(
            [f'SIGKILL: {CHAOS_TITLES[kind]}', '', '', len(result['rows']), len(result['found'])]
        )
    rows.append(['all', *(sum(row[i] for row in rows if row[i] != '') for i in range(1, 5))])
    hours = sum(result['seconds'] for result in results.values()) / 3600
    lines = [
        '# What was broken on purpose',
        '',
        'Written by',
        '',
        '```bash',
        'python benchmarks/reliability.py --out docs/reliability.md',
        '```',
        '',
        f'which tries all of it again ({hours:.1f} hours for what is listed here). The test suite '
        'tries a small part of each; [resume.md](resume.md),',
        '[data.md](data.md) and [checkpoints.md](checkpoints.md) say what is promised.',
        '',
        *table(['Area', 'Inputs', 'Disk faults', 'Kills', 'Did not survive'], rows),
        '',
        'An input survives when its property holds: a damaged file gives the same content or an '
        'error that names it, nothing in a',
        'file is executed, a shape, range, order or identity is what it has to be. A fault of the '
        'disk, or the death of the process in',
        "the middle of a checkpoint's writing, survives when a whole checkpoint is resumed after "
        'it. A killed training survives when',
        'it ends with the bits of the one that was left alone: weights, EMA, optimizer, schedules, '
        'place in the data, logged losses.',
        'Counted are all inputs that were generated; damaged images that declare more than ten '
        'million pixels among them are not',
        'loaded (the corpus has such files).',
        '',
        '## Properties',
    ]
    for name, result in fuzz.items():
        lines += ['', f'{titles[name]} (`tests/fuzz/test_{name}.py`):', '']
        tried = [[words(test), number] for test, number in result['tried'].items()]
        lines += table(['Property', 'Inputs'], tried)
        if result['skipped']:
            lines += ['', f'{result["skipped"]} tests could not run here.']
        if result['failed']:
            lines += ['', f'Failed: {", ".join(result["failed"])}.']
    if missing:
        lines += ['', f'Not tried for this page: {", ".join(missing)}.']
    lines += ['', '## Kills']
    for kind, result in kills.items():
        places = [f'{row["reached"]} ({row["saved"]})' for row in result['rows']]
        writing = sum(row['writing'] for row in result['rows'])
        title = CHAOS_TITLES[kind]
        lines += [
            '',
            f'**{title[0].upper()}{title[1:]}.** Killed in iteration (last checkpoint): '
            f'{", ".join(places)}; {writing} of them with a file half written. Places that differ '
            f'from the training that was left alone: {len(result["found"])}.',
        ]
    facts = list(results.values())[-1]['machine']
    lines += ['', '## Machine', '', ', '.join(f'{k} {v}' for k, v in facts.items()) + '.']
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description='Break what can break, and count what survived')
    parser.add_argument('--out', type=Path, help='the page, in Markdown')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reliability'))
    parser.add_argument('--areas', nargs='+', help='run these alone')
    parser.add_argument('--examples', type=int, default=2000, help='inputs for each property')
    parser.add_argument('--seed', type=int, default=0, help='of the inputs')
    parser.add_argument('--kills', type=int, default=30, help='in each training of one process')
    parser.add_argument('--kills-two', type=int, default=10, help='in that of two processes')
    args = parser.parse_args()
    results = results_of(args)
    if args.out is not None:
        missing = [name for name in areas_of(args) if name not in results]
        args.out.write_text(page(results, missing), encoding='utf-8')
    bad = [name for name, r in results.items() if r.get('failed') or r.get('found')]
    if bad:
        raise SystemExit(f'did not survive: {", ".join(bad)}; see {args.work_dir}')


if __name__ == '__main__':
    main()
