"""Every command of the page runs, on checkpoints that lie where the quickstart leaves them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import checkpoints_of_models as made
import numpy as np
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs' / 'use_your_model.md').read_text(encoding='utf-8')
USE, EXPORT = PAGE.split('## Export it')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp('place')
    work = place / 'work_dirs' / 'quickstart'
    models = dict(
        tokenizer=made.tokenizer(),
        pretrain=made.pretraining(),
        cls_beit=made.classifier(),
        seg_beit=made.segmentor(),
    )
    for name, config in models.items():
        (work / name).mkdir(parents=True)
        made.saved(config, work / name / 'iter_4.pth')
    for label in '01':
        made.write_images(place / 'data/digit_scenes/val' / label, sizes=((32, 32), (32, 32)))
    return place


def run(command, place):
    environment = dict(os.environ, OMP_NUM_THREADS='1', PYTHONPATH=str(ROOT))
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


COMMANDS = re.findall(r'^beit-mm (\w+ .*)$', USE, re.M)


def test_commands__are_all_there():
    assert [command.split()[0] for command in COMMANDS] == [
        *('predict', 'embed', 'tokenize', 'reconstruct', 'segment')
    ]


@pytest.mark.parametrize('command', COMMANDS)
def test_command__writes_what_it_says(command, place):
    words = [sys.executable, '-m', 'beit_mm.cli.main', *command.split(), '--workers', '0']
    assert 'wrote' in run(words, place)
    out = place / command.rpartition('--out ')[2]
    if out.suffix == '.csv':
        assert len(out.read_text().splitlines()) == 5
    elif out.suffix == '.npz':
        assert len(np.load(out)['files']) == 4
    else:
        assert len([*out.rglob('*.png')]) >= 4


EXPORTS = re.findall(r'^beit-mm (export .*)$', EXPORT, re.M)


@pytest.mark.parametrize('command', EXPORTS)
def test_export__writes_a_folder(command, place):
    assert len(EXPORTS) == 5
    run([sys.executable, '-m', 'beit_mm.cli.main', *command.split()], place)
    assert (place / command.split()[2] / 'README.md').is_file()


def test_export_in_python__runs(place):
    (code,) = re.findall(r'```python\n(.*?)```', EXPORT, re.S)
    shown = run([sys.executable, '-c', code], place)
    (largest,) = re.findall(r'^([\d.e-]+) \[', shown, re.M)
    assert float(largest) < 1e-4


def test_python__runs(place):
    (code,) = re.findall(r'```python\n(.*?)```', USE, re.S)
    shown = run([sys.executable, '-c', code], place)
    assert "classification ['ant', 'bee', 'cow', 'dog'] (32, 32)" in shown
    assert (place / 'predictions.csv').is_file() and [*(place / 'overlays').rglob('*.png')]
