"""A config is checked where packages that other configs need are not installed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import sys
for package in ('mmpretrain', 'mmseg', 'torchvision', 'timm', 'transformers'):
    sys.modules[package] = None  # an import of it fails
from mmengine.config import Config
from beit_mm.preflight.config import check_config
from beit_mm.registry import MODELS
for path in sys.argv[1:]:
    config = Config.fromfile(path)
    found = [f'{f.place}: {f.message}' for f in check_config(config) if f.level == 'error']
    if not found:
        MODELS.build(config.model)
    print(found)
"""


@pytest.mark.slow
def test_missing_packages__one_error_each_and_none_for_a_folder():
    configs = [
        'tokenizer/dvae_light-v1024_folder.py',
        'pretrain/beit_beit-small-p16_folder.py',
        'classification/beit-micro-p8_scratch_ft_digit-scenes-500.py',
        'segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py',
    ]
    command = [sys.executable, '-c', CODE, *(ROOT / 'configs' / config for config in configs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tokenizer, pretraining, classifier, segmentor = done.stdout.splitlines()[-4:]
    assert tokenizer == pretraining == '[]'
    for package, found in dict(mmpretrain=classifier, mmseg=segmentor).items():
        assert found.count('pip install') == 1 == len(eval(found))
        assert f'pip install "beit_mm[{package}]"' in found
