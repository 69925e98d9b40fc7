"""Break what can break, count what survived, and write the figures as a page.

python benchmarks/reliability.py --out docs/reliability.md [--work-dir DIR]
    [--examples 2000] [--seed 0] [--kills 30] [--kills-two 10] [--stops 20] [--areas chaos-iter ...]

Areas are the files of tests/fuzz (generated inputs, a corpus of broken files, disk faults), some
other test files (faults made by hand), public reports that tests/parity re-creates, the configs of
installed libraries (check_published_configs.py), and the trainings of benchmarks/chaos, which are
killed (chaos_resume.py) and told to stop (chaos_stop.py). What an area found is kept in
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
from benchmarks.chaos_stop import stop_often
from benchmarks.reliability_page import BY_HAND, CHAOS, FUZZ, REPORTS, ROOT, write_page

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


def digit_scenes(work_dir: Path) -> Path:
    """Return the folder of the images that the trainings see; make it at first."""
    data = (work_dir / 'data').resolve()
    if not (data / 'meta/digit_scenes.json').is_file():
        tool = str(ROOT / 'tools/dataset_converters/digit_scenes.py')
        sizes = ['--unlabelled', '200', '--train', '600', '--val', '50']
        with (work_dir / 'data.log').open('w') as log:
            subprocess.run([sys.executable, tool, str(data), *sizes], check=True, stdout=log)
    return data


def roots_of(kind: str, data: Path) -> list[str]:
    """Return the options that lead a training of benchmarks/chaos to its images."""
    train, val = (data, data) if kind == 'epoch' else (data / 'unlabelled', data / 'val')
    roots = dict(train_dataloader=train, val_dataloader=val, test_dataloader=val)
    return [f'{loader}.dataset.data_root={root}' for loader, root in roots.items()]


def run_chaos(kind: str, work_dir: Path, options: dict) -> dict:
    """Kill one of the trainings of benchmarks/chaos; return the kills and what differs."""
    roots = roots_of(kind, digit_scenes(work_dir))
    folder = work_dir / f'chaos-{kind}'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    nproc = 2 if kind == 'two' else 1
    config = str(CHAOS[kind])
    rows, found = chaos(config, folder, options['kills'], 0, nproc, roots, progress=say)
    return dict(rows=[row._asdict() for row in rows], found=found)


def run_stops(kind: str, work_dir: Path, options: dict) -> dict:
    """Tell one of the trainings to stop; return the stops and those that were not saved."""
    long = ['train_cfg.max_iters=3000']  # it should not come to its end
    roots = roots_of(kind, digit_scenes(work_dir)) + long
    folder = work_dir / f'stops-{kind}'
    shutil.rmtree(folder, ignore_errors=True)
    config, stops = str(CHAOS[kind]), options['stops']
    rows = stop_often(config, folder, stops, options=roots, progress=say)
    lost = [f'stop at {row["reached"]}' for row in rows if not row['saved']]
    missing = [f'{stops - len(rows)} of {stops} stops'] if len(rows) < stops else []
    return dict(stops=rows, found=lost + missing)


def run_configs(tool: Path, work_dir: Path, options: dict) -> dict:
    """Check the configs of the installed libraries; return counts and unconfirmed errors."""
    state = work_dir / 'configs.state.json'  # from which a second call goes on
    command = [sys.executable, str(tool), '--state', str(state)]
    with (work_dir / 'configs.log').open('w') as log:
        subprocess.run(command, check=True, cwd=ROOT, stdout=log, stderr=log)
    found = json.loads(state.read_text())
    wrong = [line for library in found.values() for line in library['wrong']]
    return dict(libraries={name: one['counts'] for name, one in found.items()}, found=wrong)


def run_tests(file: Path, work_dir: Path, options: dict) -> dict:
    """Run a file of tests; return its cases, those that failed, and what they reported."""
    report, xml = (work_dir.resolve() / f'{file.stem}.{end}' for end in ('tried.json', 'xml'))
    environment = dict(os.environ, BEIT_MM_FUZZ_REPORT=str(report))
    if options:
        environment['BEIT_MM_FUZZ_EXAMPLES'] = str(options['examples'])
        environment['BEIT_MM_FUZZ_SEED'] = str(options['seed'])
    command = [sys.executable, '-m', 'pytest', '-q', str(file), f'--junitxml={xml}']
    report.unlink(missing_ok=True)
    xml.unlink(missing_ok=True)
    with (work_dir / f'{file.stem}.log').open('w') as log:
        subprocess.run(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
    cases = list(ET.parse(xml).iter('testcase')) if xml.is_file() else []
    if not cases:
        raise SystemExit(f'{file.name} did not run, see {work_dir / file.stem}.log')
    failed = [c.get('name') for c in cases if c.find('failure') is not None]
    failed += [c.get('name') for c in cases if c.find('error') is not None]
    skipped = sum(case.find('skipped') is not None for case in cases)
    told = json.loads(report.read_text()) if report.is_file() else {}
    kind = 'reports' if isinstance(told, list) else 'tried'
    return dict({kind: told}, tests=len(cases), skipped=skipped, failed=failed)


def list_areas(args: argparse.Namespace) -> dict[str, tuple]:
    """Return name -> (function, its first argument, options)."""
    fuzz = dict(examples=args.examples, seed=args.seed)
    areas = {file.stem.removeprefix('test_'): (run_tests, file, fuzz) for file in FUZZ}
    areas |= {file.stem.removeprefix('test_'): (run_tests, file, {}) for file in REPORTS}
    areas |= {f'hand-{name}': (run_tests, file, {}) for name, file in BY_HAND.items()}
    areas['configs'] = run_configs, ROOT / 'benchmarks/check_published_configs.py', {}
    areas['stops'] = run_stops, 'iter', dict(stops=args.stops)
    for kind in CHAOS:
        kills = args.kills_two if kind == 'two' else args.kills
        areas[f'chaos-{kind}'] = (run_chaos, kind, dict(kills=kills))
    return areas


def command_of(args: argparse.Namespace) -> str:
    """Return the command that makes the page anew."""
    names = ('examples', 'kills', 'kills_two', 'stops')
    numbers = ' '.join(f'--{name.replace("_", "-")} {vars(args)[name]}' for name in names)
    return f'python benchmarks/reliability.py --out docs/reliability.md {numbers}'


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
    parser.add_argument('--stops', type=int, default=20, help='SIGTERMs to a training')
    args = parser.parse_args()
    results = collect_results(args)
    if args.out is not None:
        missing = [name for name in list_areas(args) if name not in results]
        args.out.write_text(write_page(results, missing, command_of(args)), encoding='utf-8')
    bad = [name for name, r in results.items() if r.get('failed') or r.get('found')]
    if bad:
        raise SystemExit(f'did not survive: {", ".join(bad)}; see {args.work_dir}')


if __name__ == '__main__':
    main()
