"""A work dir of somebody else: its links and its checkpoints must not reach other files."""

import os
from pathlib import Path

import pytest
import torch
from same_training import train
from tiny_training import tiny_config

from beit_mm.checkpoints.store import (
    LinkError,
    append,
    lock,
    newest_valid,
    point_and_rotate,
    pointed_at,
    retire,
    retired,
    write_atomically,
)

posix = pytest.mark.skipif(os.name != 'posix', reason='links, pipes, and names of any bytes')


@pytest.fixture
def victim(tmp_path):
    """A file outside of the work dir, as it has to stay."""
    path = tmp_path / 'victim'
    path.write_text('precious\n')
    yield path
    assert path.read_text() == 'precious\n'


@pytest.fixture
def work_dir(tmp_path):
    path = tmp_path / 'run'
    path.mkdir()
    return path


@posix
@pytest.mark.parametrize('name', ['.training.lock', 'scalars.jsonl', 'non_finite_batches.jsonl'])
@pytest.mark.parametrize('to', ['file', 'nothing', 'pipe'])
def test_files_that_grow__are_no_links_and_no_pipes(name, to, work_dir, victim, tmp_path):
    if to == 'pipe':
        os.mkfifo(work_dir / name)
    else:
        (work_dir / name).symlink_to(victim if to == 'file' else tmp_path / 'new')
    with pytest.raises(LinkError, match=f'{name} is a link, a pipe.*remove it'):
        lock(work_dir) if 'lock' in name else append(work_dir / name, b'line\n')
    assert not (tmp_path / 'new').exists()


@posix
def test_temporary_file__is_a_new_one(work_dir, victim, monkeypatch):
    """Even if somebody guesses its name."""
    monkeypatch.setattr('secrets.token_hex', lambda size: 'guessed')
    link = work_dir / '.iter_1.pth.guessed.tmp'
    link.symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_atomically(work_dir / 'iter_1.pth', b'content')
    assert not (work_dir / 'iter_1.pth').exists()


@posix
def test_name_that_is_a_link__is_replaced_and_not_followed(work_dir, victim):
    (work_dir / 'last_checkpoint').symlink_to(victim)
    (work_dir / 'iter_1.pth').write_bytes(b'')
    point_and_rotate(work_dir, work_dir / 'iter_1.pth', [])
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'iter_1.pth')
    assert not (work_dir / 'last_checkpoint').is_symlink()


@posix
def test_work_dir_itself__may_be_a_link(work_dir, tmp_path):
    (tmp_path / 'link').symlink_to(work_dir)
    append(tmp_path / 'link' / 'scalars.jsonl', b'1\n')
    append(tmp_path / 'link' / 'scalars.jsonl', b'2\n')
    assert (work_dir / 'scalars.jsonl').read_bytes() == b'1\n2\n'


POINTERS = [
    b'\xff\xfe\x00i',
    b'a\x00b',
    b'x' * 5000,
    b'\n\n',
    b'..',
    b'iter_9.pth\niter_8.pth',
    b'.',
]


@pytest.mark.parametrize('content', POINTERS)
def test_pointer__of_any_bytes_leads_to_the_last_whole_checkpoint(content, work_dir):
    torch.save(dict(x=torch.ones(1)), work_dir / 'iter_3.pth')
    (work_dir / 'last_checkpoint').write_bytes(content)
    (work_dir / 'earlier_checkpoints.txt').write_bytes(content)
    assert newest_valid(work_dir, work_dir, 'iter_{}.pth')[0] == work_dir / 'iter_3.pth'
    assert retire(work_dir, work_dir) == {'iter_3.pth'} == retired(work_dir)


@posix
def test_pointer__names_a_file_whose_name_is_not_utf8(work_dir):
    path = work_dir / os.fsdecode(b'model_\xe9_3.pth')
    path.write_bytes(b'')
    point_and_rotate(work_dir, path, [])
    assert pointed_at(work_dir, work_dir) == path
    retire(work_dir, work_dir)
    assert retired(work_dir) == {path.name}


def forge(work_dir: Path, **info) -> None:
    """Have the last checkpoint of a run name other files."""
    path = pointed_at(work_dir, work_dir)
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['message_hub']['runtime_info'].update(info)
    torch.save(checkpoint, path)


BEST = dict(save_best='score', rule='greater', max_keep_ckpts=2)


def config(work_dir, steps, **changes):
    made = tiny_config(work_dir, steps=steps, every=3)
    made['default_hooks']['checkpoint'].update(BEST, **changes)
    return made


FORGED = [
    dict(stop_ckpt='notes.txt'),
    dict(stop_ckpt='../victim'),
    dict(stop_ckpt='iter_900.pth'),
    dict(stop_ckpt=['iter_900.pth']),
    dict(keep_ckpt_ids=[900, 901, 3, 6]),
    dict(keep_ckpt_ids=['0/../../victim', 'x', None, 2.5, True, [1]]),
    dict(keep_ckpt_ids='900'),
    dict(best_ckpt='notes.txt', best_score=-1e9),
    dict(best_ckpt='iter_900.pth', best_score=-1e9),
    dict(best_ckpt='best_score_iter_900.pth', best_score=-1e9),
    dict(best_ckpt=5, best_score=-1e9),
]


@pytest.mark.slow
@pytest.mark.parametrize('info', FORGED, ids=str)
def test_resume__removes_no_file_that_only_the_checkpoint_names(info, work_dir, victim):
    others = ['notes.txt', 'iter_900.pth', 'best_score_iter_900.pth']
    for name in others:
        (work_dir / name).write_text('mine')
    (work_dir / 'iter_901.pth').mkdir()  # a checkpoint of DeepSpeed
    train(config(work_dir, 6))  # which retires what was there
    forge(work_dir, **info)
    train(config(work_dir, 12), resume=True)
    for name in others:
        assert (work_dir / name).read_text() == 'mine'
    assert (work_dir / 'iter_901.pth').is_dir() and (work_dir / 'scalars.jsonl').is_file()


@pytest.mark.slow
def test_resume__of_a_checkpoint_from_elsewhere_removes_nothing(work_dir, tmp_path):
    train(config(work_dir, 6, max_keep_ckpts=-1))
    mine = {path.name for path in work_dir.glob('*.pth')}
    train(config(tmp_path / 'theirs', 6))
    forge(tmp_path / 'theirs', keep_ckpt_ids=[3, 6], best_ckpt='best_score_iter_4.pth')
    source = str(tmp_path / 'theirs' / 'iter_6.pth')
    train(dict(config(work_dir, 15), load_from=source), resume=True)
    assert mine <= {path.name for path in work_dir.glob('*.pth')}


@pytest.mark.slow
def test_resume__goes_on_with_the_rotation_of_its_own_files(work_dir):
    train(config(work_dir, 6))
    train(config(work_dir, 15), resume=True)
    names = {path.name for path in work_dir.glob('iter_*.pth')}
    assert names == {'iter_12.pth', 'iter_15.pth'}
