"""SIGKILL of real processes, workers and all."""

import pytest
from mmengine.config import Config
from same_training import ROOT, chaos_resume
from tiny_training import tiny_config

pytestmark = pytest.mark.slow


def test_chaos__sigkill_of_real_processes(tmp_path, monkeypatch):
    config = tiny_config('unused', steps=30, workers=1, every=4)
    config['custom_imports'] = dict(imports=['tiny_training'])
    config.pop('work_dir')
    path = tmp_path / 'config.py'
    path.write_text(Config(config).pretty_text)
    monkeypatch.setenv('PYTHONPATH', str(ROOT / 'tests/helpers'))
    rows, found = chaos_resume.chaos(str(path), tmp_path / 'runs', 1, 1, 1, [])
    assert found == [] and len(rows) == 1


def test_differences__sees_one_bit():
    import torch

    left = dict(a=[torch.tensor([1.0, 2.0])], b=(1, float('nan')))
    right = dict(a=[torch.tensor([1.0, 2.0])], b=(1, float('nan')))
    assert list(chaos_resume.differences(left, right)) == []
    right['a'][0].view(torch.int32)[1] ^= 1
    assert list(chaos_resume.differences(left, right)) == ['.a[0]']
    assert list(chaos_resume.differences(left, dict(left, c=0))) == ['.c (missing in one)']
