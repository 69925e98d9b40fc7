"""The stages of tools/quickstart.sh, each one a command that you could type yourself.

python tools/quickstart.py [--seed 0] [--work-dir DIR] [--smoke]

A stage that is finished has a marker `done.json` with its command; it is skipped when the command
and the config are the same. One that was stopped goes on from its last checkpoint.
"""

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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from beit_mm.cli.config_loading import load_config  # noqa: E402

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
SMOKE_OPTIONS = ['train_cfg.max_iters=4', 'train_cfg.val_interval=4']
DATA_SECONDS, TEST_SECONDS, REPORT_SECONDS = 10, 7, 6
PROGRESS = re.compile(r'Iter\(train\) \[ *(\d+)/(\d+)\].*? eta: (\S+).*? loss: (\S+)')


def last_checkpoint(work_dir: Path) -> Path:
    """The newest checkpoint of a stage, wherever the folder stands now."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        raise FileNotFoundError(f'{pointer} is missing: the stage has saved no checkpoint')
    return work_dir / Path(pointer.read_text().strip()).name


def seen_from_root(path: Path) -> Path:
    """What was typed is relative to where it was typed; the stages run in ROOT."""
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


class Terminated(Exception):
    """SIGTERM."""


def terminate(*_) -> None:
    raise Terminated


class Quickstart:
    def __init__(self, work_dir: Path, data: Path, seed: int, smoke: bool):
        self.work_dir, self.data, self.seed, self.smoke = work_dir, data, seed, smoke
        self.begin = time.time()
        self.left = DATA_SECONDS + sum(s + TEST_SECONDS for _, _, s in TRAININGS) + REPORT_SECONDS
        self.number = 0
        self.spent = self.expected = 0.0  # of the stages that ran

    def run(self) -> None:
        size = ['--unlabelled', '200', '--train', '2000', '--val', '50'] if self.smoke else []
        script = 'tools/dataset_converters/digit_scenes.py'
        # The data set knows by itself what is complete.
        self.stage('data', [script, str(self.data), *size], DATA_SECONDS, marker=False)
        for name, config, seconds in TRAININGS:
            self.train(name, config, seconds)
            self.test(name, config)
        command = ['tools/make_report.py', str(self.work_dir), '--data', str(self.data)]
        self.stage('report', command, REPORT_SECONDS, marker=False, show=True)

    def train(self, name: str, config: str, seconds: int) -> None:
        out = self.work_dir / name
        command = ['tools/train.py', f'configs/{config}', '--work-dir', str(out)]
        options = self.options(name, load_config(ROOT / 'configs' / config))
        command = [*command, '--cfg-options', *options]
        self.stage(name, command, seconds, config=config, resume=True)

    def options(self, name: str, config) -> list[str]:
        """What differs from the config: seed, place of the data, checkpoints of earlier stages."""
        options = [f'randomness.seed={self.seed}', *(SMOKE_OPTIONS if self.smoke else [])]
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            root = Path(config[loader].dataset.data_root)
            tail = root.relative_to('data/digit_scenes')
            options.append(f'{loader}.dataset.data_root={self.data / tail}')
        if name == 'pretrain':
            path = last_checkpoint(self.work_dir / 'tokenizer')
            options.append(f'model.tokenizer.init_cfg.checkpoint={path}')
        elif config.model.get('backbone', {}).get('init_cfg'):
            path = last_checkpoint(self.work_dir / 'pretrain')
            options.append(f'model.backbone.init_cfg.checkpoint={path}')
        return options

    def test(self, name: str, config: str) -> None:
        out = self.work_dir / name
        command = ['tools/test.py', f'configs/{config}', str(last_checkpoint(out))]
        command += ['--work-dir', str(out / 'test'), '--out', str(out / 'metrics.json')]
        root = load_config(ROOT / 'configs' / config).test_dataloader.dataset.data_root
        data = self.data / Path(root).relative_to('data/digit_scenes')
        command += ['--cfg-options', f'test_dataloader.dataset.data_root={data}']
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
        """Run one command, or skip it if it was finished with the same words and config."""
        self.number += 1
        total = 2 * len(TRAININGS) + 2
        key = self.key(command, config)
        done = self.work_dir / 'stages' / f'{name}.json'
        head = f'[{self.number:2d}/{total}] {name}'
        if marker and done.is_file() and json.loads(done.read_text()) == key:
            print(f'{head}: done before', flush=True)
            self.left -= seconds
            return
        elapsed = time.time() - self.begin
        pace = self.spent / self.expected if self.expected else 1.0
        print(f'{head}: elapsed {elapsed:.0f} s, about {pace * self.left:.0f} s to go', flush=True)
        log, started = done.with_suffix('.log'), done.with_suffix('.started')
        log.parent.mkdir(parents=True, exist_ok=True)
        if resume and started.is_file() and json.loads(started.read_text()) == key:
            command = [*command, '--resume']  # the same run, stopped before its end
        elif resume:
            self.forget(name)
        started.write_text(json.dumps(key, indent=2) + '\n')
        start = time.time()
        code = self.follow([sys.executable, '-u', *command], log, show)
        if code:
            tail = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-8:])
            raise SystemExit(f'{tail}\n{name} failed with exit status {code}; whole log: {log}')
        if marker:
            done.write_text(json.dumps(key, indent=2) + '\n')
        self.left -= seconds
        if marker:  # the others may have had nothing to do
            self.spent, self.expected = self.spent + time.time() - start, self.expected + seconds
        print(f'        {name} took {time.time() - start:.0f} s', flush=True)

    def forget(self, name: str) -> None:
        """Remove an earlier run's checkpoints; --resume would go on from them."""
        out = self.work_dir / name
        for path in [*out.glob('*.pth'), out / 'last_checkpoint']:
            path.unlink(missing_ok=True)

    @staticmethod
    def key(command: list[str], config: str | None) -> dict:
        """What a stage depends on: its words, its whole config and the checkpoints it reads."""
        text = load_config(ROOT / 'configs' / config).pretty_text if config else ''
        files = [Path(word.split('=')[-1]) for word in command if word.endswith('.pth')]
        content = b''.join(hashlib.sha256((ROOT / file).read_bytes()).digest() for file in files)
        return dict(command=command, inputs=hashlib.sha256(text.encode() + content).hexdigest())

    @staticmethod
    def follow(command: list[str], log: Path, show: bool) -> int:
        """Run ``command``; all it prints goes to ``log``, and its progress to the terminal."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description='The whole chain on digit scenes')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/quickstart[_seedN]')
    parser.add_argument('--data', type=Path, help='default: data/digit_scenes')
    parser.add_argument('--smoke', action='store_true', help='4 steps of each training')
    args = parser.parse_args()
    small = '_smoke' if args.smoke else ''
    name = 'quickstart' + small + (f'_seed{args.seed}' if args.seed else '')
    work_dir = seen_from_root(args.work_dir or ROOT / 'work_dirs' / name)
    data = seen_from_root(args.data or ROOT / f'data/digit_scenes{small}')
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, terminate)
    Quickstart(work_dir, data, args.seed, args.smoke).run()


if __name__ == '__main__':
    main()
