"""Run the whole chain on digit scenes, each stage a command of its own (tools/quickstart.py)."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config

import beit_mm
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.stages import Stages, end_in_words
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.config_walk import DATALOADERS

ROOT = Path(beit_mm.__file__).resolve().parents[1]
# name, config, seconds that it took on the machine of docs/evidence.md
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
DATA_SECONDS, REPORT_SECONDS = 10, 6
DATA = 'data/digit_scenes'


class Quickstart(Stages):
    """The stages of one run, in order.

    Args:
        work_dir: One folder for each training, relative to the checkout.
        data: Digit scenes; made there if they are missing.
        smoke: Train 4 steps each, on less data.
    """

    def __init__(self, work_dir: Path, data: Path, seed: int, smoke: bool):
        seconds = DATA_SECONDS + sum(s for _, _, s in TRAININGS) + REPORT_SECONDS
        super().__init__(work_dir, ROOT, seconds, total=len(TRAININGS) + 2)
        self.data, self.seed, self.smoke = data, seed, smoke

    def run_all(self) -> None:
        script = 'tools/dataset_converters/digit_scenes.py'
        command = [script, str(self.data), *(SMOKE_SIZES if self.smoke else [])]
        # The script knows by itself what is complete.
        self.run('data', command, DATA_SECONDS, marker=False)
        for name, config, seconds in TRAININGS:
            self.train(name, config, seconds)
        command = ['tools/report.py', str(self.work_dir)]
        self.run('report', command, REPORT_SECONDS, marker=False, show=True)

    def train(self, name: str, config: str, seconds: int) -> None:
        command = ['tools/train.py', f'configs/{config}', '--work-dir', str(self.work_dir / name)]
        command += ['--test-out', str(self.work_dir / name / 'metrics.json')]
        command += [*self.hardware.flags, '--cfg-options', *self.options(name, config_of(name))]
        self.run(name, command, seconds, config=config_of(name), resume=True)

    def options(self, name: str, config: Config) -> list[str]:
        """Return what differs from the config: seed, data, checkpoints of earlier stages."""
        options = [f'randomness.seed={self.seed}', *(SMOKE_OPTIONS if self.smoke else [])]
        for loader in DATALOADERS:
            folder = Path(config[loader].dataset.data_root).relative_to(DATA)
            options.append(f'{loader}.dataset.data_root={self.data / folder}')
        if name == 'pretrain':
            path = last_checkpoint(self.work_dir / 'tokenizer')
            options.append(f'model.tokenizer.init_cfg.checkpoint={path}')
        elif config.model.get('backbone', {}).get('init_cfg'):
            path = last_checkpoint(self.work_dir / 'pretrain')
            options.append(f'model.backbone.init_cfg.checkpoint={path}')
        return options


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
    end_in_words()
    Quickstart(work_dir, data, args.seed, args.smoke).run_all()
