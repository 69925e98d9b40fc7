"""The configs of docs/experiments.md run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pages
import pytest
from mmengine.config import Config

pytestmark = pytest.mark.slow

ROOT = pages.ROOT
PAGE = pages.read('experiments.md')
SHORT = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']


def block(name: str) -> str:
    """The code block that begins with the comment `# name`."""
    found = re.search(rf'```python\n# {re.escape(name)}\n(.*?)```', PAGE, re.S)
    assert found, f'docs/experiments.md has no code block {name}'
    return found[1]


def train(config: Path, work_dir: Path | None, *options: str) -> str:
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
    command += ['--work-dir', str(work_dir)] if work_dir else []
    command += ['--cfg-options', *SHORT, *options]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=config.parent,
        env=dict(PATH='/usr/bin:/bin', PYTHONPATH=str(config.parent), OMP_NUM_THREADS='1'),
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-3000:]
    return run.stdout + run.stderr


def child(folder: Path, name: str) -> Path:
    """The config of the page, with its base in this checkout."""
    text = block(name).replace("'./", f"'{(ROOT / name).parent}/")
    path = folder / Path(name).name
    path.write_text(text)
    return path


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for number, size in enumerate([(40, 60), (33, 32), (64, 48), (50, 50)]):
        (folder / str(number % 2)).mkdir(exist_ok=True)
        picture = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), size[::-1])
        cv2.imwrite(str(folder / str(number % 2) / f'{number}.png'), picture)
    return folder


def test_own_folder__tokenizer_then_pretraining(tmp_path, images):
    short = [
        'train_dataloader.batch_size=2',
        'train_cfg.max_iters=2',
        'param_scheduler.1.begin=1',
    ]
    small = ['model.backbone.arch=micro', 'model.neck.dims=128', 'model.head.dims=128']
    paths = {}
    for kind in ('tokenizer', 'pretrain'):
        (tmp_path / kind).mkdir()
        path = child(tmp_path / kind, f'configs/{kind}/mine.py')
        path.write_text(path.read_text().replace('/path/to/images', str(images)))
        paths[kind] = path
    train(paths['tokenizer'], None, 'default_hooks.logger.interval=1', *short)
    trained = tmp_path / 'tokenizer/work_dirs/dvae_light-v1024_folder/iter_2.pth'
    expected = tmp_path / 'pretrain/work_dirs/dvae_light-v1024_folder/iter_10000.pth'
    expected.parent.mkdir(parents=True)
    trained.rename(expected)
    train(paths['pretrain'], None, *short, *small)
    assert (tmp_path / 'pretrain/work_dirs/mine/iter_2.pth').is_file()


def test_first_experiment__is_the_papers_encoder(tmp_path):
    config = Config.fromfile(child(tmp_path, 'configs/pretrain/my_paper-encoder.py'))
    backbone = config.model.backbone
    assert (backbone.abs_pos, backbone.rel_pos, backbone.layer_scale_init) == (True, None, None)
