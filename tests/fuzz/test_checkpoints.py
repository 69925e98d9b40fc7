"""Damaged and hostile checkpoints: the same tensors, or an error that names the file."""

import io
import os
import pickletools
import resource
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from corpus import WEIGHTS, Payload, checkpoint, checkpoint_corpus, sound_checkpoints
from fuzzing import mutated, prop, tried

from beit_mm.checkpoints import UnsafeCheckpointError, peek, read_checkpoint, weights_of
from beit_mm.checkpoints.store import why_broken

pytestmark = pytest.mark.filterwarnings('ignore')
SOUND = sound_checkpoints()
MARKER = Path(tempfile.gettempdir()) / f'payload-of-a-checkpoint-{os.getpid()}'
CORPUS = {entry.name: entry for entry in checkpoint_corpus(MARKER)}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('checkpoints')


@pytest.mark.parametrize('name', CORPUS)
def test_corpus(name, tmp_path):
    entry = CORPUS[name]
    path = tmp_path / name
    path.write_bytes(entry.content)
    tried['checkpoint corpus'] += 1
    if entry.message is None:
        weights = weights_of(read_checkpoint(path))
        assert set(weights) in ({'weight', 'bias'}, {'0.weight', '0.bias'})
    else:
        with pytest.raises(ValueError, match=entry.message) as error:
            read_checkpoint(path)
        assert name in str(error.value)
    assert not MARKER.exists()


def test_missing_and_folder__are_named(tmp_path):
    (tmp_path / 'folder.pth').mkdir()
    for name in ('folder.pth', 'missing.pth'):
        with pytest.raises(FileNotFoundError, match=name):
            read_checkpoint(tmp_path / name)


def opened(folder, name, content):
    """What a file of this content gives; None for an error that names it."""
    path = folder / name
    path.write_bytes(content)
    try:
        return read_checkpoint(path)
    except ValueError as error:
        assert name in str(error)
        return None


@prop(few=50, file=mutated({'zip.pth': SOUND['zip.pth']}))
def test_archive__the_same_or_refused(folder, file):
    """The checksums of the archive are heeded, by loading and by what ``resume`` asks before."""
    got = opened(folder, *file)
    if got is not None:
        assert got['meta'] == dict(iter=3) and set(got['state_dict']) == set(WEIGHTS)
        for key, tensor in WEIGHTS.items():
            assert torch.equal(got['state_dict'][key], tensor)
    else:
        assert file[1] != SOUND['zip.pth']
    if why_broken(folder / file[0]) is None:
        assert got is not None


@prop(few=50, file=mutated({k: v for k, v in SOUND.items() if k != 'zip.pth'}))
def test_formats_without_checksums__tensors_or_refused(folder, file):
    got = opened(folder, *file)
    if got is None:
        assert file[1] != SOUND[file[0]]
    elif isinstance(got, dict):
        for tensor in weights_of(got).values():
            assert not tensor.is_floating_point() or tensor.isfinite().all()


@pytest.fixture(scope='module')
def marker(tmp_path_factory):
    """The folder that must not appear, in a text of always the same length."""
    path = tmp_path_factory.mktemp('marker') / 'payload-ran'
    yield path
    assert not path.exists()


@prop(few=50, seed=mutated({'hostile.pth': b''}), file=mutated({'a': bytes(200)}))
def test_any_bytes__never_another_error(folder, seed, file):
    for name in ('any.pth', 'any.safetensors', 'any.pkl'):
        opened(folder, name, seed[1] + file[1])


def test_payloads__damaged_ones_are_not_run_either(folder, marker):
    for legacy in (False, True):
        content = checkpoint(legacy=legacy, extra=Payload(marker))

        @prop(few=50, file=mutated({f'hostile-{legacy}.pth': content}))
        def damaged(file):
            opened(folder, *file)
            assert not marker.exists()

        damaged()


def test_memo_of_a_module__is_no_longer_than_the_file(tmp_path):
    """One opcode says the place 2**31 of the memo, for which pickle in C takes 32 GB and more."""
    with zipfile.ZipFile(io.BytesIO(SOUND['module.pkl'])) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith('data.pkl'))
    steps = list(pickletools.genops(members[name]))
    needed = {arg for step, arg, _ in steps if step.name.endswith('BINGET')}
    place = next(p for step, arg, p in steps if step.name == 'BINPUT' and arg not in needed)
    members[name] = members[name][:place] + b'r\x00\x00\x00\x80' + members[name][place + 2 :]
    with zipfile.ZipFile(tmp_path / 'module.pkl', 'w') as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, hard))
    try:
        got = weights_of(read_checkpoint(tmp_path / 'module.pkl'))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert set(got) == {'0.weight', '0.bias'}


def test_expanded_tensor__is_read_as_far_as_the_file_is_worth_it(tmp_path):
    path = tmp_path / 'wide.pth'
    torch.save(dict(state_dict=dict(a=torch.ones(1).expand(2**10, 2**10))), path)
    assert read_checkpoint(path)['state_dict']['a'].shape == (2**10, 2**10)
    torch.save(dict(state_dict=dict(a=torch.ones(1).expand(2**20, 2**20))), path)
    with pytest.raises(UnsafeCheckpointError, match='larger than their bytes'):
        read_checkpoint(path)
    assert peek(path)['state_dict']['a'].shape == (2**20, 2**20)
    torch.save(dict(state_dict=dict(a=torch.full((1,), torch.nan).expand(2**10, 2**10))), path)
    with pytest.raises(ValueError, match='NaN'):
        read_checkpoint(path)


def test_tied_weights__of_many_layers_are_read(tmp_path):
    layer = nn.Linear(256, 256)
    weights = nn.Sequential(*[layer] * 40).state_dict()  # 40 names of one storage, 10 MB
    torch.save(dict(state_dict=weights), tmp_path / 'tied.pth')
    read = read_checkpoint(tmp_path / 'tied.pth')['state_dict']
    assert len({tensor.data_ptr() for tensor in read.values()}) == 2 and len(read) == 80
