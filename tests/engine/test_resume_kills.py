"""SIGKILL at many random points, half of them inside of a checkpoint's writing, and SIGTERM.

The trainings are forks of one process that has imported everything, so that a kill costs no more
than the steps that it takes back.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from same_training import ROOT, assert_same, chaos_resume

pytestmark = pytest.mark.slow

KILLS = 15  # in each of two trainings
STEPS = 45
SERVER = """
import os, signal, sys, traceback
import torch
import beit_mm
from faulty_disk import Disk, storage
from same_training import train
from tiny_training import tiny_config

torch.set_num_threads(1)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which all processes below a nohup ignore
ACCUMULATED = dict(
    optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=2, clip_grad=dict(max_norm=1.0)
)

def die_in_call(number):
    '''SIGKILL at the call of this number that touches the disk, a write half done.'''
    left = [number]
    def counted(name, call, *args):
        left[0] -= 1
        if left[0] == 0:
            if name == 'write':
                call(args[0][: len(args[0]) // 2])
            os.killpg(0, signal.SIGKILL)
        return call(*args)
    disk = Disk(counted)
    storage.os, storage.open = disk.os, disk.open

def run(folder, kind, resume, number, steps):
    os.setpgid(0, 0)
    if number:
        die_in_call(number)
    steps = steps if kind == 'Iter' else steps // 6
    changes = dict(optim_wrapper=ACCUMULATED) if kind == 'Iter' else {}
    train(tiny_config(folder, kind, steps, workers=2, every=2, **changes), resume=resume)

for line in sys.stdin:
    folder, kind, resume, number, steps = line.split()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            run(folder, kind, resume == 'resume', int(number), int(steps))
            status = 0
        except SystemExit as stop:
            status = stop.code
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    try:
        os.setpgid(child, child)
    except OSError:
        pass  # it has done so, or is gone
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""


class Server:
    def __init__(self, log: Path):
        self.log = log
        path = os.pathsep.join([str(ROOT / 'tests/helpers'), str(ROOT)])
        with log.open('w') as output:
            self.process = subprocess.Popen(
                [sys.executable, '-c', SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                env=dict(os.environ, PYTHONPATH=path),
            )

    def start(self, folder, kind, resume=True, number=0, steps=STEPS) -> int:
        """The process group of a training that kills itself in call ``number``, unless it is 0."""
        word = 'resume' if resume else 'begin'
        self.process.stdin.write(f'{folder} {kind} {word} {number} {steps}\n')
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.strip().isdigit():
                return int(line)
        raise AssertionError(self.log.read_text()[-3000:])

    def status(self) -> int:
        """What became of it: 0, or the signal that ended it."""
        for line in self.process.stdout:
            if line.strip().isdigit():
                return int(line)
        raise AssertionError(self.log.read_text()[-3000:])


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp('server') / 'log')
    yield server
    server.process.stdin.close()
    server.process.wait(timeout=300)


@pytest.mark.parametrize('kind', ['Iter', 'Epoch'])
def test_thirty_kills__the_same_bits(kind, server, tmp_path):
    """Fifteen in each loop; with workers, EMA, dropout, and accumulation in one of them."""
    server.start(tmp_path / 'calm', kind, resume=False)
    assert server.status() == 0, server.log.read_text()[-3000:]
    chaos = tmp_path / 'chaos'
    chance = random.Random(f'{kind} 1')
    kills = writing = 0
    while kills < KILLS:
        if kills % 2:
            server.start(chaos, kind, number=chance.randint(1, 36))
        else:
            group = server.start(chaos, kind)
            target = STEPS * (kills + chance.random()) / (KILLS + 1)
            until = time.monotonic() + 300
            while chaos_resume.read_logged_iteration(chaos) < target and time.monotonic() < until:
                time.sleep(0.002)
            time.sleep(chance.uniform(0, 0.03))
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                pass
        status = server.status()
        assert status in (0, signal.SIGKILL), server.log.read_text()[-3000:]
        if status == 0:
            break  # it has come to its end before
        kills += 1
        writing += any(chaos.glob('.*.*.tmp'))
    server.start(chaos, kind)
    assert server.status() == 0, server.log.read_text()[-3000:]
    assert kills >= KILLS // 2 and writing
    assert_same(tmp_path / 'calm', chaos)
    assert not any(chaos.glob('.*.*.tmp'))  # what killed writers left is swept


@pytest.mark.parametrize('number', ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGINT'])
def test_stops__of_the_whole_group_are_saved(number, server, tmp_path):
    """As batch systems do: the processes that load data get the signal as well."""
    chance = random.Random(number)
    reached = 0
    for target in (3, 12, 21):
        group = server.start(tmp_path, 'Iter', steps=1_000)  # whose end no busy machine reaches
        until = time.monotonic() + 300
        while (reached := chaos_resume.read_logged_iteration(tmp_path)) < target:
            assert time.monotonic() < until, server.log.read_text()[-3000:]
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.02))
        os.killpg(group, signal.Signals[number])
        assert server.status() == 75 << 8, server.log.read_text()[-3000:]
        saved = chaos_resume.read_last_iteration(tmp_path)
        assert saved >= reached and saved % 2 == 0  # an update is two iterations
