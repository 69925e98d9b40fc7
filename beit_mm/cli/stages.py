"""Commands that run one after another: what is finished is skipped, what was stopped goes on."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from beit_mm.checkpoints.store import POINTER, refuse_link, write_atomically
from beit_mm.cli.hardware import HARDWARE, choose_hardware

PROGRESS = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\].*? eta: (\S+).*? loss: (\S+)')
STOPPED = 'Stopped; run it again to go on.'
SAVED = 75  # exit status of a training that a signal stopped


class Terminated(SystemExit):
    """The process got SIGTERM; between two commands it ends with the message alone."""


def end_in_words() -> None:
    """Have SIGTERM and a lost connection end this process with a message, and its stage as well."""
    for name in ('SIGTERM', 'SIGHUP'):
        number = signal.Signals.__members__.get(name)
        if number and signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, terminate)


def terminate(*_) -> None:
    raise Terminated(STOPPED)


class Stages:
    """Runs the stages of a chain, each a command of its own.

    A finished stage leaves a file with its command and a digest of its config and checkpoints; it
    is skipped as long as these are the same. A stage that was stopped goes on from its last
    checkpoint.

    Args:
        work_dir: Gets a folder for each training, and ``stages/`` with the logs and with the
            threads and the precision that were measured to be fastest.
        cwd: Where the commands run, and what their paths are relative to.
        seconds: Expected duration of all stages.
        total: Number of all stages.
    """

    def __init__(self, work_dir: Path, cwd: Path, seconds: float, total: int):
        self.work_dir, self.cwd, self.left, self.total = work_dir, cwd, seconds, total
        self.hardware = choose_hardware(work_dir / HARDWARE)
        self.begin = time.time()
        self.number = 0
        self.spent = self.expected = 0.0  # seconds of the stages that ran

    def run(
        self,
        name: str,
        command: list[str],
        seconds: float,
        config: Config | None = None,
        inputs: Sequence[Path] = (),
        marker: bool = True,
        resume: bool = False,
        show: bool = False,
    ) -> None:
        """Run one Python command, or skip it if it was finished with the same words and files.

        Args:
            command: Words after ``python -u``.
            seconds: Expected duration.
            config: What the command reads.
            inputs: Checkpoints that it reads, besides those among its words.
            marker: Note that the stage is finished, and skip it the next time.
            resume: Go on with ``--resume`` if the same command was started before.
            show: Print all output instead of the progress alone.

        Raises:
            SystemExit: The command fails, or somebody stops it.
        """
        self.number += 1
        key = self._key_of(command, config, inputs)
        done = self.work_dir / 'stages' / f'{name}.json'
        head = f'[{self.number:2d}/{self.total}] {name}'
        result = self.work_dir / name / POINTER
        finished = read_key(done) if marker else None
        if finished == dict(key, result=digest_of(result)):
            print(f'{head}: done before', flush=True)
            self.left -= seconds
            return
        elapsed = time.time() - self.begin
        pace = self.spent / self.expected if self.expected else 1.0
        print(f'{head}: elapsed {elapsed:.0f} s, about {pace * self.left:.0f} s to go', flush=True)
        log, started = done.with_suffix('.log'), done.with_suffix('.started')
        log.parent.mkdir(parents=True, exist_ok=True)
        was_finished = finished == dict(key, result=(finished or {}).get('result'))
        if resume and read_key(started) == key and not was_finished:
            command = [*command, '--resume']  # the same run, stopped before its end
        elif resume:
            self.set_aside(name)
        done.unlink(missing_ok=True)
        write_atomically(started, json.dumps(key, indent=2).encode())
        start = time.time()
        self._follow(name, command, log, show)
        self.left -= seconds
        if marker:  # a stage without one may have had nothing to do, which says nothing of the pace
            key['result'] = digest_of(result)
            write_atomically(done, json.dumps(key, indent=2).encode())
            self.spent, self.expected = self.spent + time.time() - start, self.expected + seconds
        print(f'        {name} took {time.time() - start:.0f} s', flush=True)

    def _follow(self, name: str, command: list[str], log: Path, show: bool) -> None:
        environment = self.hardware.environment
        code = follow([sys.executable, '-u', *command], self.cwd, log, show, environment)
        if code == SAVED:
            raise SystemExit(STOPPED)
        if code:
            tail = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-8:])
            raise SystemExit(f'{tail}\n{name} failed with exit status {code}; whole log: {log}')

    def set_aside(self, name: str) -> None:
        """Move the checkpoints of another run, from which --resume would go on, to a folder."""
        out = self.work_dir / name
        paths = [path for path in (*out.glob('*.pth'), out / 'last_checkpoint') if path.exists()]
        if not paths:
            return
        # No report takes a hidden folder for a run.
        place = self.work_dir / '.earlier' / f'{name}_{time.strftime("%Y%m%d_%H%M%S")}'
        place.mkdir(parents=True, exist_ok=True)
        for path in paths:
            path.replace(place / path.name)
        print(f'        the checkpoints of another run are in {place} now', flush=True)

    def _key_of(
        self, command: Sequence[str], config: Config | None, inputs: Sequence[Path]
    ) -> dict:
        """Return what a stage depends on: its words, its whole config, the checkpoints it reads."""
        text = '' if config is None else config.pretty_text
        words = [word.split('=')[-1] for word in command]
        files = [self.cwd / word for word in words if word.endswith('.pth')] + [*inputs]
        content = b''.join(hashlib.sha256(file.read_bytes()).digest() for file in files)
        digest = hashlib.sha256(text.encode() + content).hexdigest()
        return dict(command=[*command], inputs=digest)


def digest_of(pointer: Path) -> str:
    """Return a digest of the last checkpoint, '' where there is none."""
    if not pointer.is_file():
        return ''
    path = pointer.parent / Path(pointer.read_text().strip()).name
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ''


def read_key(path: Path) -> dict | None:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or cut off: the stage is done again
        return None


def follow(
    command: list[str], cwd: Path, log: Path, show: bool, environment: Mapping[str, str]
) -> int:
    """Run ``command`` and return its exit status; its output goes to ``log``.

    The terminal gets the progress of a training, or all output with ``show``.
    """
    refuse_link(log)
    with log.open('a') as file:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            for line in process.stdout:
                file.write(line)
                if show:
                    print(line, end='', flush=True)
                elif found := PROGRESS.search(line):
                    step, steps, eta, loss = found.groups()
                    print(f'        step {step}/{steps}, loss {loss}, ETA {eta}', flush=True)
            return process.wait()
        except (KeyboardInterrupt, Terminated):
            process.terminate()  # Ctrl-C in a terminal reaches the stage by itself, kill -INT not
            print('\nStopping: the stage saves what it has', flush=True)
            try:
                file.write(process.communicate(timeout=120)[0])
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.kill()
                process.communicate()
            raise SystemExit(STOPPED) from None
