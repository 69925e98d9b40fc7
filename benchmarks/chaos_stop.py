"""Tell a training to stop at random moments, as batch systems do, and see whether it saves.

python benchmarks/chaos_stop.py CONFIG --work-dir DIR [--stops 20] [--signal SIGTERM] [--seed 0]
                                          [--nproc 1] [--cfg-options KEY=VALUE ...]

The signal goes to the whole process group, so that the processes that load data get it too. A stop
counts as saved if the run ends with status 75 and its last checkpoint has all the steps that were
logged before the signal. The training goes on with --resume after each stop; it needs more
iterations than there are stops, and default_hooks.logger.interval=1. The exit status is 1 unless
all stops were saved.
"""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beit_mm.cli.run_tool import run_tool
from beit_mm.contracts import UserError
from benchmarks.chaos_resume import read_last_iteration, read_logged_iteration, start

SAVED = 75  # EX_TEMPFAIL


def stop_at_random(
    config: str, work_dir: Path, number: int, nproc: int, options: list[str], chance: random.Random
) -> tuple[list[int], int, int] | None:
    """Return the statuses, the last logged and the last saved iteration; None if it has ended."""
    before = read_logged_iteration(work_dir)
    run = start(config, work_dir, nproc, options, resume=True)
    while read_logged_iteration(work_dir) <= before + 1:
        if run.wait(0.01):
            return None
    time.sleep(chance.uniform(0.0, 2.0))
    reached = read_logged_iteration(work_dir)
    os.killpg(run.ranks[0].pid, number)
    statuses = [process.wait(timeout=300) for process in run.ranks]
    return statuses, reached, read_last_iteration(work_dir)


def stop_often(
    config: str,
    work_dir: Path,
    stops: int,
    name: str = 'SIGTERM',
    seed: int = 0,
    nproc: int = 1,
    options: list[str] = (),
    progress: Callable[[str], None] = print,
) -> list[dict]:
    """Stop and resume a training; return what it had logged and saved at each stop."""
    if work_dir.exists():
        raise UserError(f'{work_dir} exists already; choose another --work-dir')
    chance, number, rows = random.Random(seed), signal.Signals[name], []
    for _ in range(stops):
        row = stop_at_random(config, work_dir, number, nproc, options, chance)
        if row is None:
            progress('the training has come to its end')
            break
        statuses, reached, last = row
        is_saved = set(statuses) == {SAVED} and last >= reached
        rows.append(dict(reached=reached, last=last, statuses=statuses, saved=is_saved))
        words = ', '.join(map(str, statuses))
        progress(f'| {len(rows)} | {reached} | {last} | {words} |')
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description='Stop, look whether it was saved, resume')
    parser.add_argument('config')
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--stops', type=int, default=20)
    parser.add_argument('--signal', default='SIGTERM')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--nproc', type=int, default=1)
    parser.add_argument('--cfg-options', nargs='+', default=[])
    args = parser.parse_args()
    print('| stop | logged iteration | saved iteration | status |\n| --- | --- | --- | --- |')
    given = args.stops, args.signal, args.seed, args.nproc, args.cfg_options
    rows = stop_often(args.config, args.work_dir, *given)
    saved = sum(row['saved'] for row in rows)
    print(f'\n{args.signal} to the process group: {saved} of {len(rows)} stops were saved')
    raise SystemExit(saved < args.stops)


if __name__ == '__main__':
    run_tool(main)
