import json

import pytest
import timm.models.beit
import torch

from beit_mm.checkpoints import write_weights
from beit_mm.checkpoints.description import describe
from beit_mm.cli import describe_checkpoint
from beit_mm.contracts import UserError
from beit_mm.models import BEiTEncoder, MaskedImageModel

ARCH = dict(embed_dims=32, num_layers=2, num_heads=2)


@pytest.fixture
def run(capsys):
    def run(*arguments) -> str:
        describe_checkpoint.main([*map(str, arguments)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def checkpoint() -> dict:
    config = dict(
        type='MaskedImageModel',
        tokenizer=dict(type='DVAETokenizer', vocab_size=8, width=4, num_blocks=1, code_dim=4),
        backbone=dict(type='BEiTEncoder', arch=ARCH, img_size=(16, 32), patch_size=8),
        neck=dict(type='MaskedPatchNeck', dims=32),
        head=dict(type='VisualTokenHead', vocab_size=8, dims=32),
        data_preprocessor=dict(type='TwoViewDataPreprocessor', mean=[100.0], std=[50.0]),
    )
    model = MaskedImageModel(**{k: v for k, v in config.items() if k != 'type'})
    state = model.state_dict()
    text = '_base_ = "never/read.py"\nraise_if_run = open("nothing")\n'
    meta = dict(cfg=text, iter=7, beit_mm=describe(model, dict(model=config), state))
    return dict(state_dict=state, meta=meta)


def test_ours__json_has_all_of_it(run, tmp_path, checkpoint):
    torch.save(checkpoint, tmp_path / 'a.pth')
    facts = json.loads(run(tmp_path / 'a.pth', '--json'))
    found = facts['description']
    assert found['images']['mean'] == [100.0] and found['images']['range'] == [-2.0, 3.1]
    size = dict(patch_size=8, img_size=[16, 32], in_channels=3)
    assert found['backbone'] == dict(type='BEiTEncoder', **size)
    assert found['tokenizer']['vocab_size'] == 8 and len(found['tokenizer']['sha256']) == 64
    assert facts['layout'] == 'beit_mm' and facts['run'] == dict(iter=7)
    state = checkpoint['state_dict']
    assert facts['tensors'] == len(state)
    assert facts['parameters'] == sum(tensor.numel() for tensor in state.values())
    assert facts['parts'].keys() == {'backbone', 'neck', 'head', 'tokenizer'}


def test_ours__table_and_config_which_is_shown_and_not_run(run, tmp_path, checkpoint):
    torch.save(checkpoint, tmp_path / 'a.pth')
    rows = dict(line.split(maxsplit=1) for line in run(tmp_path / 'a.pth').splitlines())
    assert rows['images.std'] == '[50.0]' and rows['tokenizer.stride'] == '8'
    assert rows['tokenizer.sha256'] == checkpoint['meta']['beit_mm']['tokenizer']['sha256']
    assert rows['versions.torch'].startswith(torch.__version__.split('+')[0])
    assert 'raise_if_run' in run(tmp_path / 'a.pth', '--config')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_foreign__layout_and_sizes(run, tmp_path, suffix):
    sizes = dict(embed_dim=32, depth=2, num_heads=2, img_size=32, patch_size=8)
    model = timm.models.beit.Beit(init_values=0.1, use_rel_pos_bias=True, num_classes=3, **sizes)
    state = {n: t for n, t in model.state_dict().items() if 'index' not in n}
    write_weights(state, tmp_path / f'a{suffix}', key=None)
    facts = json.loads(run(tmp_path / f'a{suffix}', '--json'))
    assert facts['layout'] == 'timm' and facts['description'] is None
    assert facts['parameters'] == sum(tensor.numel() for tensor in state.values())
    assert 'none (written by another program' in run(tmp_path / f'a{suffix}')


def test_old_files_and_others__as_far_as_they_tell(run, tmp_path):
    state = BEiTEncoder(arch=ARCH, img_size=32, patch_size=8).state_dict()
    torch.save(dict(model=state), tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    assert json.loads(run(tmp_path / 'a.pth', '--json'))['inside'] == ['model']
    torch.save(dict(a=torch.ones(3)), tmp_path / 'b.pth')
    assert 'none of a BEiT' in run(tmp_path / 'b.pth')
    with pytest.raises(UserError, match='holds no config'):
        run(tmp_path / 'b.pth', '--config')
    (tmp_path / 'c.pth').write_bytes(b'not one')
    with pytest.raises(ValueError, match='c.pth'):
        run(tmp_path / 'c.pth')
