"""OpenAI's encoder.pkl and decoder.pkl are modules that torch.save has pickled with their class."""

import os
import sys
import types
import zipfile
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch
import torch.nn as nn
from mmengine.runner import load_checkpoint

from beit_mm.checkpoints import UnsafeCheckpointError, read_checkpoint
from beit_mm.models import DALLETokenizer

SMALL = dict(vocab_size=32, width=8, num_blocks=1, code_dim=6)

SOURCE = """
import torch, torch.nn as nn

class Conv2d(nn.Module):
    def __init__(self, weight, bias):
        super().__init__()
        self.w, self.b = nn.Parameter(weight, requires_grad=False), nn.Parameter(bias)
        self.use_float16, self.device = True, torch.device('cpu')

class Encoder(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks
        self.register_buffer('steps', torch.tensor(3))

class Decoder(Encoder):
    pass
"""


@pytest.fixture
def dall_e():
    """A package of this name for as long as a file is written."""
    names = ['dall_e', 'dall_e.encoder', 'dall_e.decoder']
    for name in names:
        sys.modules[name] = types.ModuleType(name)
    module = sys.modules['dall_e.encoder']
    exec(SOURCE, module.__dict__)
    module.Decoder.__module__ = 'dall_e.decoder'
    sys.modules['dall_e.decoder'].Decoder = module.Decoder
    yield module
    for name in names:
        sys.modules.pop(name, None)


def pickled(dall_e, part, cls, tensors=()):
    """The modules of ours as theirs: the same tree, weights as w and b."""

    def theirs(module):
        if isinstance(module, nn.Conv2d):
            return dall_e.Conv2d(module.weight.detach(), module.bias.detach())
        children = OrderedDict((name, theirs(child)) for name, child in module.named_children())
        return nn.Sequential(children) if children else nn.ReLU()

    module = cls(theirs(part.blocks))
    for name, tensor in tensors:
        module.register_buffer(name, tensor)
    return module


def removed(dall_e):
    for name in [n for n in sys.modules if n.split('.')[0] == 'dall_e']:
        del sys.modules[name]


@pytest.mark.parametrize('legacy', [False, True])
def test_encoder_and_decoder__give_the_tokenizer_that_was_pickled(tmp_path, dall_e, legacy):
    torch.manual_seed(1)
    source = DALLETokenizer(**SMALL).eval()
    for part, cls in (('encoder', dall_e.Encoder), ('decoder', dall_e.Decoder)):
        module = pickled(dall_e, getattr(source, part), cls)
        path = tmp_path / f'{part}.pkl'
        torch.save(module, path, _use_new_zipfile_serialization=not legacy)
    removed(dall_e)
    content = read_checkpoint(tmp_path / 'encoder.pkl')['state_dict']
    assert all(name.startswith('encoder.') for name in content)
    assert content['encoder.steps'].item() == 3

    files = [
        dict(type='Pretrained', checkpoint=str(tmp_path / f'{p}.pkl'))
        for p in ('encoder', 'decoder')
    ]
    torch.manual_seed(2)
    model = DALLETokenizer(**SMALL, init_cfg=files)
    model.init_weights()
    for name, tensor in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert 'dall_e' not in sys.modules


@pytest.mark.parametrize('legacy', [False, True])
def test_views_and_types__of_one_storage(tmp_path, dall_e, legacy):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = dict(
        base=base,
        row=base[1],
        column=base[:, 2],
        transposed=base.T,
        halves=torch.rand(3).half(),
        flags=torch.tensor([True, False]),
        bytes=torch.arange(5, dtype=torch.uint8),
        empty=torch.zeros(0, 3),
    )
    part = DALLETokenizer(**SMALL).encoder
    module = pickled(dall_e, part, dall_e.Encoder, tensors.items())
    torch.save(module, tmp_path / 'm.pkl', _use_new_zipfile_serialization=not legacy)
    removed(dall_e)
    content = read_checkpoint(tmp_path / 'm.pkl')['state_dict']
    for name, tensor in tensors.items():
        stored = content[f'encoder.{name}']
        assert stored.dtype == tensor.dtype and torch.equal(stored, tensor), name


class Payload:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize('legacy', [False, True])
@pytest.mark.parametrize('place', ['attribute', 'child', 'buffer', 'hook'])
def test_malicious_module__its_tensors_are_read_and_nothing_runs(tmp_path, dall_e, place, legacy):
    marker = tmp_path / 'payload-ran'
    module = pickled(dall_e, DALLETokenizer(**SMALL).encoder, dall_e.Encoder)
    if place == 'attribute':
        module.extra = [dict(a=Payload(marker))]
    elif place == 'child':
        module.blocks._modules['evil'] = Payload(marker)
    elif place == 'buffer':
        module._buffers['evil'] = Payload(marker)
    else:
        module._forward_hooks[0] = Payload(marker)
    path = tmp_path / 'encoder.pkl'
    torch.save(module, path, _use_new_zipfile_serialization=not legacy)
    weight = module.blocks.input.w
    removed(dall_e)
    load_checkpoint(DALLETokenizer(**SMALL), str(path))
    content = read_checkpoint(path)['state_dict']
    assert torch.equal(content['encoder.blocks.input.w'], weight)
    assert not any('evil' in name for name in content)
    assert not marker.exists()


@pytest.mark.parametrize('place', ['_modules', '_parameters'])
def test_module_of_another_build__is_refused_in_words(tmp_path, place):
    module = nn.Sequential(nn.Linear(2, 2))
    if place == '_modules':
        module._modules['itself'] = module
    else:
        module.__dict__['_parameters'] = Namespace(weight=1)
    torch.save(module, tmp_path / 'odd.pkl')
    with pytest.raises(UnsafeCheckpointError, match='odd.pkl'):
        read_checkpoint(tmp_path / 'odd.pkl')


def packed_again(path, names, content=None):
    """The archive with some members compressed, and with other content in them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in members.items():
            kind = zipfile.ZIP_STORED
            if name.endswith(names):
                data, kind = data if content is None else content, zipfile.ZIP_DEFLATED
            archive.writestr(name, data, kind)


@pytest.mark.parametrize('member', ['data.pkl', 'data/0'])
def test_member_larger_than_the_archive__is_not_unpacked(tmp_path, dall_e, monkeypatch, member):
    path = tmp_path / 'encoder.pkl'
    module = pickled(dall_e, DALLETokenizer(**SMALL).encoder, dall_e.Encoder)
    torch.save(module, path)
    removed(dall_e)
    packed_again(path, member, content=bytes(20 * path.stat().st_size))
    opened = []
    unpack = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, 'open', lambda self, name, *a: opened.append(name) or unpack(self, name)
    )
    with pytest.raises(UnsafeCheckpointError, match='would unpack to'):
        read_checkpoint(path)
    assert not opened


def test_member_of_another_size_than_its_tensors__is_refused(tmp_path, dall_e):
    path = tmp_path / 'encoder.pkl'
    torch.save(pickled(dall_e, DALLETokenizer(**SMALL).encoder, dall_e.Encoder), path)
    removed(dall_e)
    packed_again(path, 'data/0', content=bytes(999))
    with pytest.raises(UnsafeCheckpointError, match='data/0 has another size'):
        read_checkpoint(path)


def test_compressed_archive__is_read_up_to_ten_times_its_size(tmp_path, dall_e):
    part = DALLETokenizer(**SMALL).encoder
    tensors = {f'zeros{i}': torch.zeros(20000) for i in range(9)}
    torch.save(pickled(dall_e, part, dall_e.Encoder, tensors.items()), tmp_path / 'm.pkl')
    removed(dall_e)
    before = read_checkpoint(tmp_path / 'm.pkl')['state_dict']
    packed_again(tmp_path / 'm.pkl', ('0', '1', '3', '5', '7', '9'))
    after = read_checkpoint(tmp_path / 'm.pkl')['state_dict']
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_tensor_beyond_its_storage__is_refused(tmp_path, dall_e):
    class Liar:
        def __reduce__(self):
            storage = torch.zeros(4).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 2, (4,), (1,), False, OrderedDict())

    module = pickled(dall_e, DALLETokenizer(**SMALL).encoder, dall_e.Encoder)
    module.liar = Liar()
    torch.save(module, tmp_path / 'encoder.pkl')
    removed(dall_e)
    with pytest.raises(UnsafeCheckpointError):
        read_checkpoint(tmp_path / 'encoder.pkl')
