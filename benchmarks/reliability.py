"""Break what can break, count what survived, and write the figures as a page.

python benchmarks/reliability.py --out docs/reliability.md [--work-dir DIR]
    [--examples 2000] [--seed 0] [--kills 30] [--kills-two 10] [--areas chaos-iter ...]

Areas are the files of tests/fuzz (generated inputs, a corpus of broken files, disk faults) and the
trainings of benchmarks/chaos, which are killed (chaos_resume.py). What an area found is kept in
DIR/AREA.json and taken from there by the next call with the same options, so that a run of some
hours can be cut off, and areas can run one by one. The exit status is 1 if anything did not
survive.
"""

import argparse
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.chaos_resume import chaos
from benchmarks.reliability_page import CHAOS, FUZZ, ROOT, write_page

LIBRARIES = ('torch', 'onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'numpy', 'hypothesis')


def say(line: str) -> None:
    print(f'{time.strftime("%H:%M:%S")} {line}', file=sys.stderr, flush=True)


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on, besides chance."""
    cpu = re.search(r'model name\s*: (.*)', Path('/proc/cpuinfo').read_text())
    return dict(
        system=f'{platform.system()} {platform.machine()}',
        cpu=f'{cpu[1] if cpu else platform.processor()}, {os.cpu_count()} cores',
        python=platform.python_version(),
        **{name: version(name) for name in LIBRARIES},
    )


def run_chaos(kind: str, work_dir: Path, options: dict) -> dict:
    """Kill one of the trainings of benchmarks/chaos; return the kills and what differs."""
    data = (work_dir / 'data').resolve()
    if not (data / 'meta/digit_scenes.json').is_file():
        tool = str(ROOT / 'tools/dataset_converters/digit_scenes.py')
        sizes = ['--unlabelled', '200', '--train', '600', '--val', '50']
        with (work_dir / 'data.log').open('w') as log:
            subprocess.run([sys.executable, tool, str(data), *sizes], check=True, stdout=log)
    folder = work_dir / f'chaos-{kind}'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train, val = (data, data) if kind == 'epoch' else (data / 'unlabelled', data / 'val')
    roots = dict(train_dataloader=train, val_dataloader=val, test_dataloader=val)
    roots = [f'{loader}.dataset.data_root={root}' for loader, root in roots.items()]
    nproc = 2 if kind == 'two' else 1
    config = str(CHAOS[kind])
    rows, found = chaos(config, folder, options['kills'], 0, nproc, roots, progress=say)
    return dict(rows=[row._asdict() for row in rows], found=found)


def run_fuzz(file: Path, work_dir: Path, options: dict) -> dict:
    """Run a file of tests/fuzz; return what its tests tried, and those that failed."""
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


def list_areas(args: argparse.Namespace) -> dict[str, tuple]:
    """Return name -> (function, its first argument, options)."""
    fuzz = dict(examples=args.examples, seed=args.seed)
    areas = {file.stem.removeprefix('test_'): (run_fuzz, file, fuzz) for file in FUZZ}
    for kind in CHAOS:
        kills = args.kills_two if kind == 'two' else args.kills
        areas[f'chaos-{kind}'] = (run_chaos, kind, dict(kills=kills))
    return areas


def collect_results(args: argparse.Namespace) -> dict[str, dict]:
    """Return what each area found, from its file or by running it now.

    Raises:
        SystemExit: ``--areas`` names one that does not exist.
    """
    areas = list_areas(args)
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
        seconds = round(time.monotonic() - start)
        result.update(seconds=seconds, options=options, machine=describe_machine())
        path.write_text(json.dumps(result, indent=1))
        results[name] = result
        spent += 1
    return results


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
    results = collect_results(args)
    if args.out is not None:
        missing = [name for name in list_areas(args) if name not in results]
        args.out.write_text(write_page(results, missing), encoding='utf-8')
    bad = [name for name, r in results.items() if r.get('failed') or r.get('found')]
    if bad:
        raise SystemExit(f'did not survive: {", ".join(bad)}; see {args.work_dir}')


if __name__ == '__main__':
    main()
