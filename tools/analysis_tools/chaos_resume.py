"""Kill a training at random moments, go on with --resume, and compare it with one left alone.

python tools/analysis_tools/chaos_resume.py CONFIG --work-dir DIR [--kills 30] [--seed 0]
                                            [--nproc 1] [--cfg-options KEY=VALUE ...]

The training of CONFIG runs once undisturbed (DIR/calm), and once with SIGKILL (DIR/chaos), at
moments that are random within equal parts of it; after the last of them it comes to its end. Then
the last checkpoints must hold the same bits: weights, EMA, optimizer, schedules, place in the
data; and the curves the same losses.
The exit status is 1 if anything differs. Keep the training short (train_cfg.max_iters), with
several checkpoints in it, and log every step (default_hooks.logger.interval=1), since the kills
are timed by the log.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from beit_mm.checkpoints import read_checkpoint  # noqa: E402
from beit_mm.engine.storage import pointed_at  # noqa: E402

STATE = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'train_loop')
STATE += ('module_states',)
CLOCK = ('time', 'data_time', 'eta', 'memory')  # the rest of the curves is no matter of time


def differences(left: Any, right: Any, where: str = '') -> Iterator[str]:
    """The places where two states differ, bit by bit."""
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


def state_of(path: str | Path) -> dict:
    """What a checkpoint says of the training, without clocks and names."""
    checkpoint = read_checkpoint(str(path), 'cpu')
    state = {key: checkpoint[key] for key in STATE if key in checkpoint}
    state['meta'] = {key: checkpoint['meta'][key] for key in ('epoch', 'iter', 'seed')}
    scalars = checkpoint['message_hub']['log_scalars']
    state['scalars'] = {k: v for k, v in scalars.items() if k.split('/')[-1] not in CLOCK}
    return state


def curve_of(work_dir: str | Path) -> list[dict]:
    lines = (Path(work_dir) / 'scalars.jsonl').read_text(encoding='utf-8').splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def start(config: str, work_dir: Path, nproc: int, options: list[str], resume: bool):
    command = [sys.executable]
    if nproc > 1:
        port = random.Random().randrange(20000, 60000)
        command += ['-m', 'torch.distributed.run', f'--nproc_per_node={nproc}']
        command += ['--master_addr=127.0.0.1', f'--master_port={port}']
    command += [str(ROOT / 'tools/train.py'), config, '--work-dir', str(work_dir)]
    command += ['--launcher', 'pytorch'] if nproc > 1 else []
    command += ['--resume'] if resume else []
    command += ['--cfg-options', *options] if options else []
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / 'output.log').open('a') as log:
        # a group of its own, so that a kill takes its workers and processes along
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen, work_dir: Path) -> None:
    if process.wait():
        raise SystemExit(f'a run failed by itself, see {work_dir / "output.log"}')


def last_iteration(work_dir: Path) -> int:
    path = pointed_at(work_dir, work_dir)
    return state_of(path)['meta']['iter'] if path else 0


def logged(work_dir: Path) -> int:
    """The last iteration in the curve, whose last line may be cut off."""
    path = work_dir / 'scalars.jsonl'
    found = re.findall(r'"iter": (\d+)', path.read_text(encoding='utf-8')) if path.exists() else []
    return int(found[-1]) if found else 0


def kill_at(process: subprocess.Popen, work_dir: Path, iteration: float, delay: float) -> bool:
    """``delay`` seconds after ``iteration`` was logged; False if it came to its end before."""
    while process.poll() is None and logged(work_dir) < iteration:
        time.sleep(0.01)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    if process.returncode:
        raise SystemExit(f'a run failed by itself, see {work_dir / "output.log"}')
    return False


def chaos(config: str, work_dir: Path, kills: int, seed: int, nproc: int, options: list[str]):
    """The rows of the table, and the names of what differs at the end."""
    calm, wild = work_dir / 'calm', work_dir / 'chaos'
    for folder in (calm, wild):
        if folder.exists():
            raise SystemExit(f'{folder} exists already; choose another --work-dir')
    finish(start(config, calm, nproc, options, resume=False), calm)
    total = last_iteration(calm)
    chance = random.Random(seed)
    rows = []
    while len(rows) < kills:
        process = start(config, wild, nproc, options, resume=True)
        iteration = total * (len(rows) + chance.random()) / (kills + 1)
        if not kill_at(process, wild, iteration, chance.uniform(0.0, 0.3)):
            break
        rows.append((len(rows) + 1, logged(wild), last_iteration(wild)))
    finish(start(config, wild, nproc, options, resume=True), wild)
    last = pointed_at(calm, calm), pointed_at(wild, wild)
    found = [f'checkpoint{place}' for place in differences(*map(state_of, last))]
    found += [f'curve{place}' for place in differences(curve_of(calm), curve_of(wild))]
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
        args.config, args.work_dir, args.kills, args.seed, args.nproc, args.cfg_options
    )
    print('| kill | in iteration | last checkpoint |\n| --- | --- | --- |')
    for number, reached, saved in rows:
        print(f'| {number} | {reached} | {saved} |')
    print(f'\n{len(rows)} kills; places that differ from the undisturbed run: {len(found)}')
    print('\n'.join(found[:20]))
    raise SystemExit(bool(found))


if __name__ == '__main__':
    main()
