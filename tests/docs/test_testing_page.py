"""The Python of docs/testing.md runs as it stands there."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from shipped_configs import ROOT

from beit_mm.registry import MODELS

pytestmark = pytest.mark.slow

PAGE = (ROOT / 'docs/testing.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'```python\n# (\S+)\n(.*?)```', PAGE, re.S)


@pytest.mark.parametrize('code', [code for _, code in BLOCKS], ids=[name for name, _ in BLOCKS])
def test_python__runs(code, tmp_path, monkeypatch, capsys):
    """In a checkout with the checkpoints and the image that it names."""
    monkeypatch.chdir(tmp_path)
    Path('configs').symlink_to(ROOT / 'configs')
    cv2.imwrite('image.png', np.zeros((40, 48, 3), np.uint8))
    pairs = re.findall(r"config = '(.*?)'\ncheckpoint = '(.*?)'", code)
    for config, checkpoint in pairs:
        model = Config.fromfile(config)
        outside = dict(data_preprocessor=model.get('data_preprocessor'))
        model = MODELS.build({**outside, **model.model})
        meta = dict(classes=[*'0123456789x'], palette=[[0, 0, 0]] * 11)
        Path(checkpoint).parent.mkdir(parents=True)
        torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=meta)), checkpoint)
    exec(compile(code, 'docs/testing.md', 'exec'), {})
    if pairs:
        assert '(40, 48)' in capsys.readouterr().out and any(Path('pictures/vis').iterdir())


def test_page__has_both_blocks():
    assert [name for name, _ in BLOCKS] == ['test_in_python.py', 'configs_by_name.py']
