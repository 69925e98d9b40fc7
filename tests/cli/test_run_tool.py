import errno
import subprocess
import sys

import numpy as np
import pytest
from mmengine.registry import DATASETS, MODELS, TRANSFORMS
from torch.utils.data import DataLoader, Dataset

from beit_mm.cli.config_loading import load_config
from beit_mm.cli.run_tool import run_tool
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.visualization import paste_patches

pytestmark = pytest.mark.slow


def first_batch(*pipeline, folder=None, **dataset):
    data = UnlabelledImageFolder(str(folder), pipeline=list(pipeline), **dataset)
    return next(iter(DataLoader(data, num_workers=1)))


class Wrong(Dataset):
    """Raises ``error`` in place of each sample."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.error


def in_worker(error):
    return lambda: next(iter(DataLoader(Wrong(error), num_workers=1)))


def message_of(function) -> str:
    with pytest.raises(SystemExit) as stopped:
        run_tool(function)
    return stopped.value.code


def test_message__from_a_worker(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'<html>')
    load = dict(type='LoadImageFromFile')
    message = message_of(lambda: first_batch(load, folder=tmp_path))
    assert message.startswith(f"error: image '{tmp_path}/broken.png' (sample 0): ")
    assert message.endswith('finds all such') and 'Traceback' not in message


class OwnError(UserError, RuntimeError):
    """An error of a plugin."""


@pytest.mark.parametrize('kind', [UserError, OwnError, MissingFileError, FileNotFoundError])
def test_message__from_a_worker__of_any_class_and_with_several_lines(kind):
    text = 'a.b=3: expected UserError: or less\nchange it\n\nTraceback: 4'
    assert message_of(in_worker(kind(text))) == f'error: {text}'
    assert message_of(lambda: Wrong(kind(text))[0]) == f'error: {text}'


def test_message__of_a_worker_that_names_a_cause():
    error = UserError('the outer one')
    error.__cause__ = UserError('the inner one')
    assert message_of(in_worker(error)) == 'error: the outer one'


@pytest.mark.parametrize('error', [ValueError('plain'), RuntimeError('x'), KeyError('model')])
def test_other_errors__from_a_worker_keep_their_traceback(error, tmp_path):
    with pytest.raises(type(error), match='Original Traceback'):
        run_tool(in_worker(error))


def test_other_errors__of_a_transform_in_a_worker_keep_their_traceback(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'')
    with pytest.raises(RuntimeError, match='Original Traceback'):
        run_tool(lambda: first_batch(lambda results: int('x'), folder=tmp_path))


def test_message__of_what_the_user_can_mend():
    assert message_of(lambda: load_config('gone.py')).startswith('error: There is no config file')
    assert 'gone.txt' in message_of(lambda: open('gone.txt'))
    wrong = message_of(lambda: MODELS.build(dict(type='beit_mm.BEiTEnkoder')))
    assert wrong.startswith('error: beit_mm.BEiTEnkoder is not in the')
    missing = dict(type='mmseg.BaseSegDataset', ann_file='gone.txt')
    assert message_of(lambda: DATASETS.build(missing)).startswith(
        'error: Failed to load `ann_file`'
    )
    ours = message_of(lambda: TRANSFORMS.build(dict(type='beit_mm.RandomMask', grid=0)))
    assert ours.startswith('error: RandomMask.grid=0: expected')


def raise_error(error):
    raise error


@pytest.mark.parametrize(
    'error, function',
    [
        (ValueError, lambda: raise_error(ValueError('nobody wrote this for the user'))),
        (KeyError, lambda: {}['model']),
        (RuntimeError, lambda: load_config(RaisesRuntimeError())),
        (ZeroDivisionError, lambda: 1 / 0),
        (AssertionError, lambda: raise_error(AssertionError('only we can break it'))),
        # In code of the package, but inside a call
        (ValueError, lambda: paste_patches(*map(np.zeros, ((4, 4, 3), (5, 5, 3), (2, 2))))),
    ],
)
def test_other_errors_keep_their_traceback(error, function):
    with pytest.raises(error):
        run_tool(function)


class RaisesRuntimeError:
    def __fspath__(self):
        raise RuntimeError('of a plugin')


# A C exit handler stands for a thread that ends the process while the interpreter is taken down.
ABORTS_AT_EXIT = """
import atexit
import ctypes
import sys

import torch

import beit_mm
from beit_mm.cli.run_tool import run_tool

libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)
atexit.register(lambda: print('left'))


def main():
    store = torch.distributed.FileStore(sys.argv[1], 1)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    print('done')
    if sys.argv[2] != '0':
        raise SystemExit(int(sys.argv[2]))


run_tool(main)
"""


@pytest.mark.distributed
@pytest.mark.parametrize('status', [0, 75])
def test_end_of_one_process_of_several__nothing_aborts_it(tmp_path, status):
    command = [sys.executable, '-c', ABORTS_AT_EXIT, tmp_path / 'store', str(status)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (status, ['done', 'left']), done.stderr


class OnDisk(Dataset):
    """Fails as the system does."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise PermissionError(errno.EACCES, 'Permission denied', '/data/a.png')


CODES = ['EACCES', 'EPERM', 'EROFS', 'ENOSPC', 'EDQUOT', 'ENOTDIR', 'EISDIR', 'ENAMETOOLONG']


@pytest.mark.parametrize('code', CODES)
def test_message__of_a_folder_that_cannot_be_written(code):
    number = getattr(errno, code)
    error = OSError(number, 'said by the system', '/runs/\x1b[2Jmine')
    message = message_of(lambda: raise_error(error))
    assert message.startswith('error: /runs/\\x1b[2Jmine: said by the system; ')


def test_message__of_a_file_that_a_worker_may_not_read():
    loader = DataLoader(OnDisk(), num_workers=1)
    assert "Permission denied: '/data/a.png'" in message_of(lambda: next(iter(loader)))


def test_message__of_real_files(tmp_path):
    (tmp_path / 'file').write_text('')
    assert 'a part of the path is a file' in message_of((tmp_path / 'file' / 'run').mkdir)
    assert 'choose another name' in message_of((tmp_path / 'file').mkdir)
    assert 'shorter name' in message_of((tmp_path / ('x' * 300)).mkdir)


def test_other_errors__of_the_system_keep_their_traceback():
    with pytest.raises(OSError):
        run_tool(lambda: raise_error(OSError(errno.EIO, 'Input/output error', 'a')))
    for error in (OSError('of a library'), OSError(errno.EACCES, 'of a socket')):
        with pytest.raises(OSError):
            run_tool(lambda error=error: raise_error(error))
    full = OSError(errno.ENOSPC, 'No space left on device')  # as a write says it
    assert 'the disk: No space left' in message_of(lambda: raise_error(full))


def test_message__of_a_worker_that_was_killed():
    error = RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. ')
    assert 'memory' in message_of(lambda: raise_error(error))
