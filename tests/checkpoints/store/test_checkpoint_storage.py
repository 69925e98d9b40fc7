"""Faults injected at every call that touches the disk."""

import errno
import os
from types import SimpleNamespace

import pytest
import torch
from faulty_disk import FaultyDisk, Killed

from beit_mm.checkpoints.store import (
    NoUsableCheckpointError,
    bring_back,
    newest_valid,
    open_atomically,
    point_and_rotate,
    pointed_at,
    retire,
    steps_of,
    sweep,
    to_plain,
    why_broken,
    write_atomically,
)


@pytest.mark.parametrize('fault', [Killed(), OSError(errno.ENOSPC, 'No space left')])
@pytest.mark.parametrize('fails_at', range(14))
def test_write__whole_or_untouched_at_every_call(fault, fails_at, tmp_path, monkeypatch):
    old, new = b'old ' * 30, b'new content ' * 8
    path = tmp_path / 'file.pth'
    path.write_bytes(old)
    with monkeypatch.context() as patch:
        FaultyDisk(patch, fails_at, fault)
        try:
            write_atomically(path, new)
            failed = False
        except (Killed, OSError):
            failed = True
    assert path.read_bytes() in (old, new)
    assert failed or path.read_bytes() == new
    if isinstance(fault, OSError):
        assert [file.name for file in tmp_path.iterdir()] == ['file.pth']
    sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ['file.pth']


def test_write__reaches_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    real = {name: getattr(os, name) for name in ('fsync', 'replace')}
    for name, call in real.items():
        monkeypatch.setattr(os, name, lambda *args, n=name, c=call: (calls.append(n), c(*args))[1])
    write_atomically(tmp_path / 'a', b'x')
    assert calls == ['fsync', 'replace', 'fsync']  # the file, its name, the folder


def test_open__a_writer_that_takes_a_name_and_one_that_fails(tmp_path):
    path = tmp_path / 'new' / 'file.pth'
    with open_atomically(path) as file:
        torch.save([1], file.name)
        assert not path.exists()
    assert torch.load(path) == [1]
    with pytest.raises(KeyError), open_atomically(path) as file:
        file.write(b'half')
        raise KeyError
    assert [entry.name for entry in path.parent.iterdir()] == ['file.pth']
    assert torch.load(path) == [1]
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def save(folder, number, content=0.0):
    path = folder / f'iter_{number}.pth'
    torch.save(dict(x=torch.full((100,), content)), path)
    return path


@pytest.mark.parametrize('fault', [Killed(), OSError(errno.ENOSPC, 'No space left')])
def test_save__one_of_two_is_resumed_wherever_it_ends(fault, tmp_path, monkeypatch):
    """The whole order: file, pointer, removal of the one before."""
    whole = save(tmp_path, 2).read_bytes()
    ends = set()
    for fails_at in range(0, 200, 3):
        folder = tmp_path / str(fails_at)
        folder.mkdir()
        save(folder, 1)
        write_atomically(folder / 'last_checkpoint', b'iter_1.pth')
        with monkeypatch.context() as patch:
            FaultyDisk(patch, fails_at, fault)
            try:
                write_atomically(folder / 'iter_2.pth', whole)
                point_and_rotate(folder, folder / 'iter_2.pth', ['iter_1.pth'])
            except (Killed, OSError):
                pass
        path, skipped = newest_valid(folder, folder, 'iter_{}.pth')
        assert not skipped and path.name in ('iter_1.pth', 'iter_2.pth')
        ends.add((path.name, (folder / 'iter_1.pth').exists()))
    both = ('iter_2.pth', True)
    assert ends | {both} == {('iter_1.pth', True), both, ('iter_2.pth', False)}


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


def test_why_broken__any_cut_and_any_flipped_byte(tmp_path):
    path = save(tmp_path, 1)
    whole = path.read_bytes()
    assert why_broken(path) is None
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        assert why_broken(path)
    damaged = bytearray(whole)
    damaged[whole.index(torch.zeros(50).numpy().tobytes()) + 40] ^= 1
    path.write_bytes(damaged)
    assert 'damaged' in why_broken(path)


def test_newest_valid__passes_over_broken_ones(tmp_path):
    for number in (10, 20, 30, 90):
        save(tmp_path, number)
    (tmp_path / 'last_checkpoint').write_text('iter_30.pth')
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth')[0].name == 'iter_30.pth'
    cut(tmp_path / 'iter_30.pth', 50)
    path, skipped = newest_valid(tmp_path, tmp_path, 'iter_{}.pth')
    assert path.name == 'iter_20.pth'  # not 90, which another run left
    assert [entry[0].name for entry in skipped] == ['iter_30.pth']
    assert 'cut off' in skipped[0][1]


@pytest.mark.parametrize('pointer', [None, '', 'iter_5.pth'])
def test_newest_valid__without_a_usable_pointer(pointer, tmp_path):
    for number in (9, 10):
        save(tmp_path, number)
    if pointer is not None:
        (tmp_path / 'last_checkpoint').write_text(pointer)
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth')[0].name == 'iter_10.pth'


def test_newest_valid__all_broken_is_an_error_and_none_is_not(tmp_path):
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth') == (None, [])
    cut(save(tmp_path, 1), 30)
    with pytest.raises(NoUsableCheckpointError, match=r'iter_1\.pth.*resume=False'):
        newest_valid(tmp_path, tmp_path, 'iter_{}.pth')


def test_newest_valid__only_of_the_run_that_began_last(tmp_path):
    for number in (2, 4):
        save(tmp_path, number)
    (tmp_path / 'last_checkpoint').write_text('iter_4.pth')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert retire(tmp_path, tmp_path) == {'iter_2.pth', 'iter_4.pth'}
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth') == (None, [])
    before['last_checkpoint.old'] = before.pop('last_checkpoint')
    assert before.items() <= {path.name: path.read_bytes() for path in tmp_path.iterdir()}.items()
    # a name comes back with a new file, others don't, and a second beginning retires all
    save(tmp_path, 4)
    bring_back(tmp_path, 'iter_4.pth')
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth')[0].name == 'iter_4.pth'
    (tmp_path / 'last_checkpoint').write_text('iter_4.pth')
    cut(tmp_path / 'iter_4.pth', 50)
    with pytest.raises(NoUsableCheckpointError, match='iter_4'):  # not the other run's iter_2
        newest_valid(tmp_path, tmp_path, 'iter_{}.pth')
    assert retire(tmp_path, tmp_path) == {'iter_2.pth', 'iter_4.pth'}
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth') == (None, [])
    # the user knows better
    (tmp_path / 'last_checkpoint').write_text('iter_2.pth')
    assert newest_valid(tmp_path, tmp_path, 'iter_{}.pth')[0].name == 'iter_2.pth'


def test_pointer__absolute_ones_of_a_moved_work_dir(tmp_path):
    save(tmp_path, 3)
    (tmp_path / 'last_checkpoint').write_text('/was/here/before/iter_3.pth')
    assert pointed_at(tmp_path, tmp_path) == tmp_path / 'iter_3.pth'


def test_steps_of__takes_whole_names_alone(tmp_path):
    for name in (
        'iter_3.pth',
        'iter_12.pth',
        'best_iter_99.pth',
        '.iter_5.pth.1.tmp',
        'iter_x.pth',
    ):
        (tmp_path / name).touch()
    assert list(steps_of(tmp_path, 'iter_{}.pth')) == [12, 3]


def test_to_plain__names_what_it_cannot_save():
    with pytest.raises(TypeError, match=r'meta\.tool\[1\] is a .*SimpleNamespace'):
        to_plain(dict(tool=[1, SimpleNamespace()]), 'meta')
