"""The tutorials run as they stand there, on a few tiny images."""

import json
import re
import signal
from pathlib import Path

import checkpoints_of_models as made
import cv2
import numpy as np
import pages
import pytest
from mmengine.config import Config
from transformers import BeitConfig, BeitForMaskedImageModeling

from beit_mm.cli import chain
from beit_mm.datasets.ignore_interrupt import STOP_SIGNALS

pytestmark = pytest.mark.slow


def short(verb: str, words: list[str]) -> list[str] | None:
    """Return what makes a command of a page one of a second: two steps, no other processes."""
    if verb in ('digit-scenes', 'report'):  # they take long, and have tests of their own
        return None
    if verb in ('segment', 'reconstruct'):
        return ['--workers', '0']
    if verb not in ('train', 'test'):
        return []
    config = Config.fromfile(words[0])
    options = [
        f'{name}.{option}'
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader')
        if config.get(name)
        for option in ('num_workers=0', 'persistent_workers=False', 'batch_size=4')
    ]
    options.append('default_hooks.logger.interval=1')
    return [*(['--max-iters', '2'] if verb == 'train' else []), '--cfg-options', *options]


def no_index(*arguments):
    raise ValueError  # then MMEngine takes the path below the configs


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """An empty folder to work in, where Python finds modules; signals stay as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend('.')
    # Half the time of so short a training: the layout of the config's copy, the index of all names.
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', lambda text, **style: (text, True))
    monkeypatch.setattr('mmengine.config.utils._get_cfg_metainfo', no_index)
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def test_plugins__each_trains(place, capsys):
    for part in ('unlabelled', 'val'):
        made.write_images(Path('data/digit_scenes') / part, sizes=[(32, 32)] * 6)
    assert pages.run(pages.read('tutorials/plugins.md'), short) == ['train'] * 6
    (log,) = place.glob('work_dirs/my_data/*/*.log')
    assert ' images: 8\n' in log.read_text()
    assert 'pretraining (32, 32)' in capsys.readouterr().out
    trained = {path.parent.name for path in place.glob('work_dirs/*/iter_2.pth')}
    assert trained == {
        f'my_{name}' for name in ('gray', 'sign_code', 'colors', 'rows', 'parts', 'data')
    }


def write_masks(images: Path, masks: Path) -> None:
    """Three bands of classes for each image."""
    for path in images.rglob('*.png'):
        mask = np.arange(40)[:, None].repeat(48, 1) // 14
        masks.mkdir(exist_ok=True)
        cv2.imwrite(str(masks / path.relative_to(images)), mask.astype(np.uint8))


def test_segmentation__from_images_to_overlays(place, monkeypatch, capsys):
    made.write_images(Path('images'), sizes=[(40, 48)] * 12)
    write_masks(Path('images'), Path('masks'))
    made.write_images(Path('new_images'), sizes=[(40, 48)])
    monkeypatch.setattr(chain, 'measure', lambda *arguments: 0.5)
    verbs = pages.run(pages.read('tutorials/segmentation.md'), short)
    assert verbs == [
        *('chain', 'train', 'reconstruct', 'train', 'train', 'train', 'test', 'test', 'segment'),
        'train',
    ]
    assert '(40, 48)' in capsys.readouterr().out and len([*Path('overlays').rglob('*.png')]) == 2
    header = Path('shares.csv').read_text().splitlines()[0]
    assert 'background' in header and 'tree' in header

    page = pages.read('tutorials/read_the_log.md')  # about the logs that are there now
    logs = ''.join(path.read_text() for path in place.glob('work_dirs/mine/*/*/*.log'))
    tables = re.findall(r'^\| Figure .*\n(?:\|.*\n)+', page, re.M)
    figures = re.findall(r'^\| `(\S+)`', ''.join(tables), re.M)
    assert len(figures) == 15
    for figure in [*figures, 'decode.loss_ce', 'decode.acc_seg', 'mIoU']:
        assert f' {figure}: ' in logs, figure
    pages.run(page, short)
    assert 'gain over unigram: ' in capsys.readouterr().out


def test_released_weights__are_found_and_go_on(place, monkeypatch, capfd):
    for label in ('cat', 'dog'):
        made.write_images(Path('images') / label, sizes=[(80, 80)] * 6)
    released = BeitForMaskedImageModeling(
        BeitConfig(
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=64,
            use_mask_token=True,
            use_shared_relative_position_bias=True,
            layer_norm_eps=1e-6,
        )
    )
    released.save_pretrained('checkpoints/beit_base')
    monkeypatch.setattr(chain, 'measure', lambda *arguments: 0.5)
    verbs = pages.run(pages.read('tutorials/released_weights.md'), short)
    assert verbs == ['describe', 'chain', *['train'] * 4, 'test', 'check-config']
    (log,) = place.glob('work_dirs/continued/pretrain/*/*.log')
    found = re.search(r'BEiTEncoder: (\d+) of (\d+) tensors matched', log.read_text())
    assert found and found[1] == found[2] != '0'
    assert 'huggingface' in capfd.readouterr().out
    assert json.loads(Path('cls_beit.json').read_text())['accuracy/top1'] is not None
