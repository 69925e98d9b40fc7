"""A work dir stands for its best checkpoint, else its last one, wherever a file is named."""

import os

import pytest
import torch
from mmengine.runner.checkpoint import CheckpointLoader

from beit_mm.checkpoints import peek, read_checkpoint, read_description
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.models import DVAETokenizer

TINY = dict(vocab_size=8, stride=8, width=4, num_blocks=1, code_dim=2)


def save(path, number, age=0):
    torch.save(dict(state_dict=dict(a=torch.full((2,), float(number)))), path)
    os.utime(path, (1e9 - age, 1e9 - age))


def number_of(path) -> float:
    return read_checkpoint(path)['state_dict']['a'][0].item()


def test_the_best_before_the_pointed_before_the_highest(tmp_path):
    save(tmp_path / 'iter_9.pth', 9)
    save(tmp_path / 'iter_10.pth', 10)
    assert number_of(tmp_path) == 10
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_9.pth'))
    assert number_of(tmp_path) == 9
    save(tmp_path / 'best_acc_iter_4.pth', 4, age=10)
    save(tmp_path / 'best_loss_iter_5.pth', 5, age=5)
    assert number_of(tmp_path) == 5
    (tmp_path / 'best_loss_iter_5.pth').write_bytes(b'PK broken')
    assert number_of(tmp_path) == 4
    assert peek(tmp_path)['state_dict']['a'].is_meta
    assert CheckpointLoader.load_checkpoint(str(tmp_path))['state_dict']['a'][0] == 4
    assert read_description(tmp_path) is None


def test_init_cfg__of_a_work_dir(tmp_path):
    torch.manual_seed(0)
    trained = DVAETokenizer(**TINY)
    torch.save(dict(state_dict=trained.state_dict()), tmp_path / 'iter_3.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path))
    frozen = DVAETokenizer(**TINY, init_cfg=init_cfg)
    frozen.init_weights()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(frozen.state_dict()[name], tensor)


def test_what_is_missing__is_told_with_what_is_there(tmp_path):
    with pytest.raises(UserError, match='has no checkpoint: looked for best_'):
        read_checkpoint(tmp_path)
    for number in range(8):
        save(tmp_path / f'iter_{number}.pth', number)
    with pytest.raises(MissingFileError, match=r'has iter_0.pth, .*iter_4.pth and 3 more'):
        read_checkpoint(tmp_path / 'iter_99.pth')
