"""Kill a training at random moments, go on with --resume, and compare it with one left alone.

python benchmarks/chaos_resume.py CONFIG --work-dir DIR [--kills 30] [--seed 0]
                                            [--nproc 1] [--cfg-options KEY=VALUE ...]

The training of CONFIG runs once undisturbed (DIR/calm), and once with SIGKILL (DIR/chaos) at
moments that are random within equal parts of it. After the last kill it runs to its end. Then the
last checkpoints must hold the same bits (weights, EMA, optimizer, schedules, place in the data),
and the curves the same losses. The exit status is 1 if anything differs.
 Keep the training short (train_cfg.max_iters), with
several checkpoints in it, and log every step (default_hooks.logger.interval=1), since the kills
are timed by the log.
"""

import argparse
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from beit_mm.checkpoints import read_checkpoint
from beit_mm.checkpoints.store import pointed_at
from beit_mm.cli.run_tool import run_tool
from beit_mm.contracts import UserError

ROOT = Path(__file__).resolve().parents[1]
STATE = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')
STATE += ('train_loop', 'module_states')
CLOCK = ('time', 'data_time', 'eta', 'memory')  # the rest of the curves is no matter of time


class Row(NamedTuple):
    """One kill.

    Attributes:
        reached: Last iteration in the curve.
        saved: Iteration of the last checkpoint.
        writing: A file was half written.
    """

    reached: int
    saved: int
    writing: bool


def differences(left: Any, right: Any, where: str = '') -> Iterator[str]:
    """Yield the places where two states differ, bit by bit."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        same = left.shape == right.shape and left.dtype == right.dtype
        if not same or left.numpy().tobytes() != right.numpy().tobytes():
            yield where
    elif isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in [*left, *(key for key in right if key not in left)]:
            if key in left and key in right:
                yield from differences(left[key], right[key], f'{where}.{key}')
            else:
                yield f'{where}.{key} (missing in one)'
    elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) != len(right):
            yield f'{where} (length {len(left)}, {len(right)})'
        for i, (a, b) in enumerate(zip(left, right, strict=False)):
            yield from differences(a, b, f'{where}[{i}]')
    elif left != right and not (left != left and right != right):
        yield where


def read_state(path: str | Path) -> dict:
    """Return what a checkpoint holds of the training, without clocks and names."""
    checkpoint = read_checkpoint(str(path), 'cpu')
    state = {key: checkpoint[key] for key in STATE if key in checkpoint}
    state['meta'] = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed')}
    scalars = checkpoint['message_hub']['log_scalars']
    state['scalars'] = {k: v for k, v in scalars.items() if k.split('/')[-1] not in CLOCK}
    return state


def read_curve(work_dir: str | Path) -> list[dict]:
    lines = (Path(work_dir) / 'scalars.jsonl').read_text(encoding='utf-8').splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


class Run:
    """The processes of one training."""

    def __init__(self, ranks: list[subprocess.Popen], work_dir: Path):
        self.ranks = ranks
        self.work_dir = work_dir

    def poll(self) -> bool:
        """Return whether the training has come to its end.

        Raises:
            SystemExit: A process has failed by itself; the others are ended too.
        """
        codes = [process.poll() for process in self.ranks]
        if any(codes):
            self.kill()
            raise SystemExit(f'a run failed by itself, see {self.work_dir / "output.log"}')
        return all(code == 0 for code in codes)

    def wait(self, seconds: float = float('inf')) -> bool:
        """Return whether the training has come to its end within ``seconds``."""
        end = time.monotonic() + seconds
        while not (over := self.poll()) and time.monotonic() < end:
            time.sleep(0.005)
        return over

    def kill(self) -> None:
        try:
            os.killpg(self.ranks[0].pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # none is left
        for process in self.ranks:
            process.wait()


def start(config: str, work_dir: Path, nproc: int, options: list[str], resume: bool) -> Run:
    """Start a training whose processes are one group, so that a kill ends them and their workers.

    The processes get the environment that a launcher gives, without one: torchrun's own children
    are in sessions of their own, and would outlive a SIGKILL of it.
    """
    command = [sys.executable, str(ROOT / 'tools/train.py'), config, '--work-dir', str(work_dir)]
    command += ['--launcher', 'pytorch'] if nproc > 1 else []
    command += ['--resume'] if resume else []
    command += ['--cfg-options', *options] if options else []
    work_dir.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    group, ranks = 0, []
    for rank in range(nproc):
        environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank))
        environment.update(WORLD_SIZE=str(nproc), MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        with (work_dir / 'output.log').open('a') as log:
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                process_group=group,
                env=environment if nproc > 1 else None,
            )
        group = group or process.pid
        ranks.append(process)
    return Run(ranks, work_dir)


def read_last_iteration(work_dir: Path) -> int:
    path = pointed_at(work_dir, work_dir)
    return read_state(path)['meta']['iter'] if path else 0


def read_logged_iteration(work_dir: Path) -> int:
    """Return the last iteration in the curve, whose last line may be cut off."""
    path = work_dir / 'scalars.jsonl'
    found = re.findall(r'"iter": (\d+)', path.read_text(encoding='utf-8')) if path.exists() else []
    return int(found[-1]) if found else 0


def kill_at(run: Run, iteration: float, delay: float) -> bool:
    """Kill ``delay`` seconds after ``iteration`` was logged; return False if it ended before."""
    while read_logged_iteration(run.work_dir) < iteration:
        if run.wait(0.01):
            return False
    if run.wait(delay):
        return False
    run.kill()
    return True


def chaos(
    config: str,
    work_dir: Path,
    kills: int,
    seed: int,
    nproc: int,
    options: list[str],
    progress: Callable[[str], None] = lambda line: None,
) -> tuple[list[Row], list[str]]:
    """Return a row for each kill, and the names of what differs at the end.

    Args:
        options: Of --cfg-options.
        progress: Gets a line after each kill.

    Raises:
        UserError: ``work_dir`` has an earlier comparison.
    """
    calm, wild = work_dir / 'calm', work_dir / 'chaos'
    for folder in (calm, wild):
        if folder.exists():
            raise UserError(f'{folder} exists already; choose another --work-dir')
    progress('the training that is left alone')
    start(config, calm, nproc, options, resume=False).wait()
    total = read_last_iteration(calm)
    chance = random.Random(seed)
    rows: list[Row] = []
    begin = time.monotonic()
    while len(rows) < kills:
        run = start(config, wild, nproc, options, resume=True)
        iteration = total * (len(rows) + chance.random()) / (kills + 1)
        if not kill_at(run, iteration, chance.uniform(0.0, 0.3)):
            break
        writing = any(wild.glob('.*.tmp'))
        rows.append(Row(read_logged_iteration(wild), read_last_iteration(wild), writing))
        left = (time.monotonic() - begin) / len(rows) * (kills + 1 - len(rows))
        progress(
            f'kill {len(rows)} of {kills}: iteration {rows[-1].reached} of {total}, last '
            f'checkpoint {rows[-1].saved}, {left / 60:.0f} min left'
        )
    start(config, wild, nproc, options, resume=True).wait()
    last = pointed_at(calm, calm), pointed_at(wild, wild)
    found = [f'checkpoint{place}' for place in differences(*map(read_state, last))]
    found += [f'curve{place}' for place in differences(read_curve(calm), read_curve(wild))]
    return rows, found


def main() -> None:
    parser = argparse.ArgumentParser(description='Kill, resume, compare')
    parser.add_argument('config')
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--nproc', type=int, default=1)
    parser.add_argument('--cfg-options', nargs='+', default=[])
    args = parser.parse_args()
    rows, found = chaos(
        args.config,
        args.work_dir,
        args.kills,
        args.seed,
        args.nproc,
        args.cfg_options,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print('| kill | in iteration | last checkpoint | while writing |\n| --- | --- | --- | --- |')
    for number, row in enumerate(rows, 1):
        print(f'| {number} | {row.reached} | {row.saved} | {"yes" if row.writing else ""} |')
    print(f'\n{len(rows)} kills; places that differ from the undisturbed run: {len(found)}')
    print('\n'.join(found[:20]))
    raise SystemExit(bool(found))


if __name__ == '__main__':
    run_tool(main)
