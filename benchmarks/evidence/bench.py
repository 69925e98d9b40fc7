"""Cells of tables: trainings and measurements that are done once and leave a JSON record."""

import hashlib
import json
import platform
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from mmengine.config import Config

from beit_mm.checkpoints.store import write_atomically
from beit_mm.cli import train
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.training_length import set_length
from beit_mm.contracts import MissingFileError
from beit_mm.models.layers.half_precision import describe_slowdown
from beit_mm.visualization import read_log

CONFIGS = Path(__file__).parent / 'configs'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
QUICK_STEPS, QUICK_IMAGES = 2, 20


class Bench:
    """Runs cells one after another in this process.

    A cell that was finished with the same config and the same cells before it is skipped. A
    training that was stopped goes on from its last checkpoint.

    Args:
        out: Gets ``records/`` with the JSON of each cell, and work dirs of the trainings.
        data: A folder, or a zip file of one, which is unpacked into ``out``.
        quick: Two steps of each training, on a few images: the figures mean nothing.
    """

    def __init__(self, out: Path, data: Path, quick: bool = False):
        self.out, self.quick = out.resolve(), quick
        self.half = torch.cuda.is_available() or not describe_slowdown(torch.bfloat16)
        self.data = unpack(data.resolve(), self.out / 'data')

    def config(self, name: str) -> Config:
        """Return a config of this benchmark, in bfloat16 where this machine is fast in it."""
        config = load_config(CONFIGS / f'{name}.py')
        if self.half:
            train.use_autocast(config.optim_wrapper)
            config.optim_wrapper.dtype = 'bfloat16'
        return config

    def train(self, name: str, config: Config, steps: int, before: tuple = (), **facts) -> dict:
        """Return the record of a training with ``metrics``, the last line of its log.

        That is the validation, where the config has one.

        Args:
            name: Of the cell, a relative path.
            before: Records of the cells whose checkpoints it begins with.
            facts: What the tables look for.
        """
        if self.quick:
            shorten(config)
        set_length(config, max_iters=QUICK_STEPS if self.quick else steps)
        folder = self.out / 'runs' / name
        config.work_dir = str(folder)
        config.experiment_name = name.replace('/', '_')  # MMEngine keeps one logger for a name

        def compute(resume: bool) -> dict:
            if not resume:
                shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / 'cell.py'
            config.dump(path)
            train.main([str(path), *(['--resume'] if resume else [])])
            metrics = {k: v for k, v in read_log(folder)[-1].items() if isinstance(v, int | float)}
            return dict(metrics=metrics, seed=config.randomness.seed, steps=steps)

        return self.cell(name, config.pretty_text, before, compute, **facts)

    def cell(
        self, name: str, inputs: str, before: tuple, compute: Callable[[bool], dict], **facts
    ) -> dict:
        """Return the record of a cell, computed unless it is there with the same inputs.

        Args:
            compute: Takes whether the same cell was begun before.
        """
        text = inputs + ''.join(record['key'] for record in before)
        key = hashlib.sha256(text.encode()).hexdigest()
        path = self.out / 'records' / f'{name}.json'
        done = read_json(path)
        if done.get('key') == key and 'cpu_seconds' in done:
            return done | facts
        resume = done.get('key') == key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, dict(name=name, key=key))  # begun
        print(f'[{time.strftime("%H:%M:%S")}] {name}{" goes on" if resume else ""}', flush=True)
        wall, cpu = time.perf_counter(), time.process_time()
        found = compute(resume)
        record = dict(
            name=name,
            key=key,
            wall_seconds=round(time.perf_counter() - wall, 1),
            cpu_seconds=round(time.process_time() - cpu, 1),
            resumed=resume,  # the seconds are those of the last process alone
            quick=self.quick,
            machine=dict(
                processor=processor(),
                threads=torch.get_num_threads(),
                precision='bfloat16' if self.half else 'float32',
            ),
            torch=torch.__version__,
        )
        record |= found | facts
        write_json(path, record)
        return record

    def folder(self, record: dict) -> str:
        """Return the work dir of a training, which an ``init_cfg`` takes as its checkpoint."""
        return str(self.out / 'runs' / record['name'])


def shorten(config: Config) -> None:
    """Make every batch small, and take a few images, spread over each data set."""
    for name in filter(config.get, LOADERS):
        loader = config[name]
        loader.batch_size = min(loader.batch_size, 8)
        if name != 'train_dataloader':
            loader.dataset.indices = QUICK_IMAGES


def unpack(data: Path, folder: Path) -> Path:
    """Return the folder of ``data``, unpacked if it is a zip file."""
    if data.is_dir():
        return data
    if not data.is_file():
        raise MissingFileError(f'--data {data}: there is neither a folder nor a zip file')
    target = folder / data.stem
    if not target.is_dir():
        partly = target.with_suffix('.partly')
        shutil.rmtree(partly, ignore_errors=True)
        with zipfile.ZipFile(data) as file:
            file.extractall(partly)
        partly.rename(target)
    return target


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # not there, or cut off: the cell is done again
        return {}


def write_json(path: Path, value: dict) -> None:
    write_atomically(path, (json.dumps(value, indent=1) + '\n').encode())


def processor() -> str:
    """Return the name of the processor."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()
