"""Run the whole chain on digit scenes, each stage a command of its own (tools/quickstart.py)."""

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

import beit_mm
from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import MissingFileError, UserError

ROOT = Path(beit_mm.__file__).resolve().parents[1]
# name, config, seconds that it took on the machine of the README's table
TRAININGS = [
    ('tokenizer', 'tokenizer/dvae_light-v256_digit-scenes.py', 42),
    ('pretrain', 'pretrain/beit_beit-micro-p8_digit-scenes.py', 230),
    ('cls_beit', 'classification/beit-micro-p8_beit_ft_digit-scenes-500.py', 32),
    ('cls_scratch', 'classification/beit-micro-p8_scratch_ft_digit-scenes-500.py', 32),
    ('cls_probe', 'classification/beit-micro-p8_beit_linear-probe_digit-scenes-500.py', 20),
    ('seg_beit', 'segmentation/beit-micro-p8_beit_setr-naive_digit-scenes-500.py', 55),
    ('seg_scratch', 'segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py', 55),
]
# Enough to see every stage work; its figures mean nothing.
SMOKE_OPTIONS = ['train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'param_scheduler.1.begin=2']
SMOKE_SIZES = ['--unlabelled', '200', '--train', '2000', '--val', '50']
DATA_SECONDS, TEST_SECONDS, REPORT_SECONDS = 10, 7, 6
DATA = 'data/digit_scenes'
PROGRESS = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\].*? eta: (\S+).*? loss: (\S+)')


class Terminated(Exception):
    """The process got SIGTERM."""


class Quickstart:
    """The stages of one run, in order.

    A finished stage leaves a file with its command and a digest of its config and checkpoints; it
    is skipped as long as these are the same. A stage that was stopped goes on from its last
    checkpoint.

    Args:
        work_dir: One folder for each training, relative to the checkout.
        data: Digit scenes; made there if they are missing.
        smoke: Train 4 steps each, on less data.
    """

    def __init__(self, work_dir: Path, data: Path, seed: int, smoke: bool):
        self.work_dir, self.data, self.seed, self.smoke = work_dir, data, seed, smoke
        self.begin = time.time()
        self.left = DATA_SECONDS + sum(s + TEST_SECONDS for _, _, s in TRAININGS) + REPORT_SECONDS
        self.number = 0
        self.spent = self.expected = 0.0  # seconds of the stages that ran

    def run(self) -> None:
        script = 'tools/dataset_converters/digit_scenes.py'
        command = [script, str(self.data), *(SMOKE_SIZES if self.smoke else [])]
        # The script knows by itself what is complete.
        self.stage('data', command, DATA_SECONDS, marker=False)
        for name, config, seconds in TRAININGS:
            self.train(name, config, seconds)
            self.test(name, config)
        command = ['tools/make_report.py', str(self.work_dir), '--data', str(self.data)]
        self.stage('report', command, REPORT_SECONDS, marker=False, show=True)

    def train(self, name: str, config: str, seconds: int) -> None:
        command = ['tools/train.py', f'configs/{config}', '--work-dir', str(self.work_dir / name)]
        options = self.options(name, config_of(name))
        command = [*command, '--cfg-options', *options]
        self.stage(name, command, seconds, config=config, resume=True)

    def options(self, name: str, config: Config) -> list[str]:
        """Return what differs from the config: seed, data, checkpoints of earlier stages."""
        options = [f'randomness.seed={self.seed}', *(SMOKE_OPTIONS if self.smoke else [])]
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            options.append(self.data_option(config, loader))
        if name == 'pretrain':
            path = last_checkpoint(self.work_dir / 'tokenizer')
            options.append(f'model.tokenizer.init_cfg.checkpoint={path}')
        elif config.model.get('backbone', {}).get('init_cfg'):
            path = last_checkpoint(self.work_dir / 'pretrain')
            options.append(f'model.backbone.init_cfg.checkpoint={path}')
        return options

    def data_option(self, config: Config, loader: str) -> str:
        folder = Path(config[loader].dataset.data_root).relative_to(DATA)
        return f'{loader}.dataset.data_root={self.data / folder}'

    def test(self, name: str, config: str) -> None:
        out = self.work_dir / name
        command = ['tools/test.py', f'configs/{config}', str(last_checkpoint(out))]
        command += ['--work-dir', str(out / 'test'), '--out', str(out / 'metrics.json')]
        command += ['--cfg-options', self.data_option(config_of(name), 'test_dataloader')]
        command += [f'randomness.seed={self.seed}']
        self.stage(f'{name}_test', command, TEST_SECONDS, config=config)

    def stage(
        self,
        name: str,
        command: list[str],
        seconds: int,
        config: str | None = None,
        marker: bool = True,
        resume: bool = False,
        show: bool = False,
    ) -> None:
        """Run one Python command, or skip it if it was finished with the same words and config.

        Args:
            seconds: Expected duration.
            config: What the command reads, relative to configs/.
            marker: Note that the stage is finished, and skip it the next time.
            resume: Go on with ``--resume`` if the same command was started before.
            show: Print all output instead of the progress alone.

        Raises:
            SystemExit: The command fails, or somebody stops it.
        """
        self.number += 1
        total = 2 * len(TRAININGS) + 2
        key = key_of(command, config)
        done = self.work_dir / 'stages' / f'{name}.json'
        head = f'[{self.number:2d}/{total}] {name}'
        if marker and read_key(done) == key:
            print(f'{head}: done before', flush=True)
            self.left -= seconds
            return
        elapsed = time.time() - self.begin
        pace = self.spent / self.expected if self.expected else 1.0
        print(f'{head}: elapsed {elapsed:.0f} s, about {pace * self.left:.0f} s to go', flush=True)
        log, started = done.with_suffix('.log'), done.with_suffix('.started')
        log.parent.mkdir(parents=True, exist_ok=True)
        if resume and read_key(started) == key:
            command = [*command, '--resume']  # the same run, stopped before its end
        elif resume:
            self.forget(name)
        started.write_text(json.dumps(key, indent=2) + '\n')
        start = time.time()
        code = follow([sys.executable, '-u', *command], log, show)
        if code:
            tail = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-8:])
            raise SystemExit(f'{tail}\n{name} failed with exit status {code}; whole log: {log}')
        self.left -= seconds
        if marker:  # a stage without one may have had nothing to do, which says nothing of the pace
            done.write_text(json.dumps(key, indent=2) + '\n')
            self.spent, self.expected = self.spent + time.time() - start, self.expected + seconds
        print(f'        {name} took {time.time() - start:.0f} s', flush=True)

    def forget(self, name: str) -> None:
        """Remove the checkpoints of an earlier run, from which --resume would go on."""
        out = self.work_dir / name
        for path in [*out.glob('*.pth'), out / 'last_checkpoint']:
            path.unlink(missing_ok=True)


def config_of(stage: str) -> Config:
    return load_config(
        ROOT / 'configs' / next(path for name, path, _ in TRAININGS if name == stage)
    )


def last_checkpoint(work_dir: Path) -> Path:
    """Return the newest checkpoint of a stage, also if its folder was moved."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        raise MissingFileError(f'{pointer} is missing: the stage has saved no checkpoint')
    return work_dir / Path(pointer.read_text().strip()).name


def key_of(command: list[str], config: str | None) -> dict:
    """Return what a stage depends on: its words, its whole config and the checkpoints it reads."""
    text = load_config(ROOT / 'configs' / config).pretty_text if config else ''
    files = [Path(word.split('=')[-1]) for word in command if word.endswith('.pth')]
    content = b''.join(hashlib.sha256((ROOT / file).read_bytes()).digest() for file in files)
    return dict(command=command, inputs=hashlib.sha256(text.encode() + content).hexdigest())


def read_key(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.is_file() else None


def follow(command: list[str], log: Path, show: bool) -> int:
    """Run ``command`` and return its exit status; its output goes to ``log``.

    The terminal gets the progress of a training, or all output with ``show``.
    """
    with log.open('a') as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
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
        except (KeyboardInterrupt, Terminated) as stop:
            if isinstance(stop, Terminated):  # Ctrl-C reaches the stage by itself
                process.terminate()
            print('\nStopping: the stage saves what it has', flush=True)
            try:
                file.write(process.communicate(timeout=120)[0])
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
            raise SystemExit('Stopped; run it again to go on.') from None


def terminate(*_) -> None:
    raise Terminated


def seen_from_root(path: Path) -> Path:
    """Return a path that was typed anywhere as seen from the checkout, where the stages run."""
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def main() -> None:
    parser = argparse.ArgumentParser(description='Run the whole chain on digit scenes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/quickstart[_seedN]')
    parser.add_argument('--data', type=Path, help=f'default: {DATA}')
    parser.add_argument('--smoke', action='store_true', help='4 steps of each training')
    args = parser.parse_args()
    if not (ROOT / 'tools/train.py').is_file():
        raise UserError(f'{ROOT} has no tools and configs; the quickstart runs in a checkout')
    small = '_smoke' if args.smoke else ''
    name = 'quickstart' + small + (f'_seed{args.seed}' if args.seed else '')
    work_dir = seen_from_root(args.work_dir or ROOT / 'work_dirs' / name)
    data = seen_from_root(args.data or ROOT / f'{DATA}{small}')
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, terminate)
    Quickstart(work_dir, data, args.seed, args.smoke).run()
