import argparse
import os
import subprocess
import sys

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, MODELS
from torch.utils.data import DataLoader, Dataset

from beit_mm.cli.config_options import ConfigOptions, merge_options
from beit_mm.cli.launch import UserError, load_config, run_tool, start_distributed
from beit_mm.datasets import UnlabelledImageFolder
from beit_mm.visualization import paste_patches


def test_config__bases_and_options(tmp_path):
    (tmp_path / 'base.py').write_text('a = dict(b=1, c=[1, 2])\n')
    (tmp_path / 'leaf.py').write_text("_base_ = ['./base.py']\na = dict(d=3)\n")
    config = load_config(tmp_path / 'leaf.py', {'a.b': 5, 'e.f': 'g'})
    assert config.to_dict() == dict(a=dict(b=5, c=[1, 2], d=3), e=dict(f='g'))


def test_config__missing(tmp_path):
    with pytest.raises(UserError, match='no config file .*nothing.py'):
        load_config(tmp_path / 'nothing.py')
    (tmp_path / 'leaf.py').write_text("_base_ = './gone.py'\n")
    (tmp_path / 'top.py').write_text("_base_ = ['leaf.py']\n")
    with pytest.raises(UserError, match=r"leaf\.py: _base_ names './gone\.py'"):
        load_config(tmp_path / 'top.py')


def test_config__custom_imports_that_are_not_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'leaf.py').write_text("custom_imports = dict(imports=['no_plugin.heads'])\n")
    (tmp_path / 'no_plugin').mkdir()
    (tmp_path / 'no_plugin/__init__.py').touch()
    with pytest.raises(
        UserError, match=r"leaf\.py: custom_imports has 'no_plugin.heads'.*PYTHONPATH"
    ):
        load_config(tmp_path / 'leaf.py')
    (tmp_path / 'no_plugin/heads.py').write_text('import no_such_package\n')
    with pytest.raises(ImportError, match='custom modules'):  # of the plugin: its traceback says it
        load_config(tmp_path / 'leaf.py')


@pytest.mark.parametrize(
    'options, message',
    [
        ({'p.9.size': 3}, "p.9.size: p is a list, '9' is not .* 2 entries: 0 Load, 1 7"),
        ({'p.size': 3}, "p.size: p is a list, 'size'"),
        ({'p.0': 3}, 'p.0: an entry of a list cannot be replaced.*all of p'),
        ({'p.1.size': 3}, 'p.1.size: an entry of a list'),
        (
            {'a.arch.dims': 3},
            "a.arch='base' in the config is not a dict .*add a.arch._delete_=True",
        ),
        ({'a.none.dims': 3}, 'a.none=None'),
        ({'a.new': 3, 'a.new.b': 4}, 'both a.new and a.new.b'),
    ],
)
def test_options__that_do_not_fit_the_config(options, message):
    config = Config(dict(a=dict(arch='base', none=None), p=[dict(type='Load'), 7]))
    with pytest.raises(ValueError, match=message):
        merge_options(config, options)


def test_options__that_fit():
    config = Config(dict(a=dict(arch='base'), p=[dict(type='Load'), 7]))
    merge_options(
        config, {'p.0.size': 3, 'a.arch.dims': 4, 'a.arch._delete_': True, 'new.x.y': 5, 'a.b': 6}
    )
    assert config.to_dict() == dict(
        a=dict(arch=dict(dims=4), b=6), p=[dict(type='Load', size=3), 7], new=dict(x=dict(y=5))
    )


@pytest.mark.parametrize(
    'text, message',
    [
        ('train_dataloader', "--cfg-options: 'train_dataloader' is not KEY=VALUE"),
        ('=3', 'is not KEY=VALUE'),
        ('a.arch=dict(dims=3)', 'a.arch.NAME=VALUE; with a.arch._delete_=True'),
        ('a=[1,(2]', r'a=[1,(2]: Imbalanced brackets'),
    ],
)
def test_options__that_cannot_be_read(text, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'b=1', text])
    assert message in capsys.readouterr().err
    read = parser.parse_args(['--cfg-options', 'b=[1,2]', 'c.d=x=y', '--cfg-options', 'e=1e-4'])
    assert read.cfg_options == {'b': [1, 2], 'c.d': 'x=y', 'e': 1e-4}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = dict(b=1, b=2)', r'leaf\.py, line 1: keyword argument repeated'),
        ("_base_ = ['./base.py'] + ['./broken.py']", r"broken\.py, line 1: '\(' was never closed"),
        ("_base_ = './base.py'\na = dict(b=gone)", r"leaf\.py, line 2: NameError: name 'gone'"),
        ("_base_ = './base.py'\na = _base_.x.y", r"leaf\.py, line 2: AttributeError: .* 'x'"),
        ("_base_ = './base.py'\na = {{_base_.x.y}}", r'leaf\.py: KeyError: x'),
        ("_base_ = './base.py'\na = dict(b=dict(c=1))", r'leaf\.py: TypeError: b=.*_delete_=True'),
        ("_base_ = ['./base.py', './same.py']", r'leaf\.py: KeyError: Duplicate key'),
        (
            "_base_ = './leaf.py'",
            r'leaf\.py: _base_ names .*leaf\.py, which has this file as a base',
        ),
        ("_base_ = './base.py'\nimport no_such_module", r'leaf\.py, line 2: ModuleNotFoundError'),
        ('a = "\udcff"', r"leaf\.py: 'utf-8' codec"),
    ],
)
def test_config__what_is_wrong_names_its_file(text, message, tmp_path):
    for name in ('base', 'same'):
        (tmp_path / f'{name}.py').write_text('a = dict(b=[1])\n')
    (tmp_path / 'broken.py').write_text("a = dict(type='X'\n")
    leaf = tmp_path / 'leaf.py'
    leaf.write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(UserError, match=message) as error:
        load_config(leaf)
    assert str(tmp_path) in str(error.value)


def test_config__an_error_of_another_module_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'my_module_with_a_defect.py').write_text('1 / 0\n')
    (tmp_path / 'base.py').write_text('a = 1\n')
    text = "_base_ = './base.py'\nimport my_module_with_a_defect\n"
    (tmp_path / 'leaf.py').write_text(text)
    with pytest.raises(ZeroDivisionError):
        load_config(tmp_path / 'leaf.py')


def test_config__a_syntax_error_deep_in_the_bases_names_file_and_line(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'root.py').write_text('a = 1\nb = dict(c=2\n')
    (tmp_path / 'sub' / 'middle.py').write_text("_base_ = ['root.py']\n")
    (tmp_path / 'other.py').write_text('x = 1\n')
    (tmp_path / 'leaf.py').write_text("_base_ = ['other.py', './sub/middle.py']\n")
    with pytest.raises(UserError, match=r'root\.py, line 2: .*never closed.*b = dict\(c=2'):
        load_config(tmp_path / 'leaf.py')


def first_batch(*pipeline, folder=None, **dataset):
    data = UnlabelledImageFolder(str(folder), pipeline=list(pipeline), **dataset)
    return next(iter(DataLoader(data, num_workers=1)))


class RefusesAllNames(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return MODELS.build(dict(type='beit_mm.BEiTEncoder', arch='huge'))


def test_messages_for_the_user__from_a_worker(tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'<html>')
    load = dict(type='LoadImageFromFile')
    message = message_of(lambda: first_batch(load, folder=tmp_path))
    assert message.startswith(f"error: image '{tmp_path}/broken.png' (sample 0): ")
    assert message.endswith('finds all such') and 'Traceback' not in message
    ours = message_of(lambda: next(iter(DataLoader(RefusesAllNames(), num_workers=1))))
    assert ours.startswith("error: backbone.arch='huge': expected one of")
    with pytest.raises(RuntimeError, match='Original Traceback'):  # a defect of a transform
        run_tool(lambda: first_batch(lambda results: int('x'), folder=tmp_path))


def raise_value_error():
    raise ValueError('plain')


def raise_assertion():
    raise AssertionError('only we can break it')


def message_of(function) -> str:
    with pytest.raises(SystemExit) as stopped:
        run_tool(function)
    return stopped.value.code


def test_messages_for_the_user():
    assert message_of(lambda: load_config('gone.py')).startswith('error: There is no config file')
    assert 'gone.txt' in message_of(lambda: open('gone.txt'))
    wrong = message_of(lambda: MODELS.build(dict(type='beit_mm.BEiTEnkoder')))
    assert wrong.startswith('error: beit_mm.BEiTEnkoder is not in the')
    missing = dict(type='mmseg.BaseSegDataset', ann_file='gone.txt')
    assert message_of(lambda: DATASETS.build(missing)).startswith(
        'error: Failed to load `ann_file`'
    )
    ours = message_of(lambda: MODELS.build(dict(type='beit_mm.BEiTEncoder', arch='huge')))
    assert ours.startswith("error: backbone.arch='huge': expected one of")


@pytest.mark.parametrize(
    'error, function',
    [
        (ValueError, raise_value_error),  # not of this package
        (KeyError, lambda: {}['model']),
        (RuntimeError, lambda: load_config(RaisesRuntimeError())),
        (ZeroDivisionError, lambda: 1 / 0),
        (AssertionError, raise_assertion),
        # In code of this package, but inside a call: nobody wrote this text for the user.
        (ValueError, lambda: paste_other_sizes()),
    ],
)
def test_other_errors_keep_their_traceback(error, function):
    with pytest.raises(error):
        run_tool(function)


class RaisesRuntimeError:
    def __fspath__(self):
        raise RuntimeError('of a plugin')


def paste_other_sizes():
    paste_patches(np.zeros((4, 4, 3)), np.zeros((5, 5, 3)), np.ones((2, 2)))


@pytest.fixture
def no_gpu(monkeypatch):
    """No GPU, no launcher's variables, and a list of the process groups that would be made."""
    made = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    monkeypatch.setattr('torch.distributed.init_process_group', made.append)
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '')  # restored afterwards, whatever is set meanwhile
        monkeypatch.delenv(name)
    return made


ONE_DEVICE = Config(dict(model_wrapper_cfg=dict(device_ids=None)))


def environment(names):
    return [os.environ.get(name) for name in names.split()]


def test_slurm_and_mpi_on_cpus_set_what_torch_reads(no_gpu, monkeypatch):
    monkeypatch.setenv('SLURM_PROCID', '3')
    monkeypatch.setenv('SLURM_NTASKS', '4')
    monkeypatch.setenv('SLURM_LOCALID', '1')
    monkeypatch.setenv('LOCAL_RANK', '0')  # the tools' default
    start_distributed(ONE_DEVICE, 'slurm')
    names = 'RANK WORLD_SIZE LOCAL_RANK MASTER_ADDR MASTER_PORT'
    assert environment(names) == ['3', '4', '1', '127.0.0.1', '29500']
    for name, value in (('RANK', '1'), ('SIZE', '2'), ('LOCAL_RANK', '1'), ('LOCAL_SIZE', '2')):
        monkeypatch.setenv(f'OMPI_COMM_WORLD_{name}', value)
    start_distributed(ONE_DEVICE, 'mpi')
    assert environment(names)[:3] == ['1', '2', '1']
    assert no_gpu == ['gloo', 'gloo']


def test_several_machines_need_the_address_of_the_first(no_gpu, monkeypatch):
    for name, value in (('PROCID', '0'), ('NTASKS', '2'), ('LOCALID', '0'), ('NNODES', '2')):
        monkeypatch.setenv(f'SLURM_{name}', value)
    with pytest.raises(UserError, match='MASTER_ADDR'):
        start_distributed(ONE_DEVICE, 'slurm')
    monkeypatch.setenv('MASTER_ADDR', 'first')
    start_distributed(ONE_DEVICE, 'slurm')
    assert no_gpu == ['gloo']


@pytest.mark.parametrize(
    'launcher, message',
    [('pytorch', 'RANK.*dist_train.sh'), ('slurm', 'slurm_train.sh'), ('mpi', 'mpirun')],
)
def test_a_process_that_no_launcher_started(no_gpu, launcher, message, monkeypatch):
    for name in ('SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=message):
        start_distributed(ONE_DEVICE, launcher)
    assert no_gpu == []


@pytest.mark.parametrize('config', [{}, dict(model_wrapper_cfg=dict(type='X'))])
def test_processes_on_cpus_need_a_wrapper_without_devices(no_gpu, config):
    with pytest.raises(UserError, match='device_ids=None'):
        start_distributed(ConfigDict(config), 'pytorch')


def test_one_process_needs_nothing(no_gpu):
    start_distributed(ConfigDict(), 'none')
    assert no_gpu == []


# A C exit handler stands for a thread that ends the process while the interpreter is taken down.
ABORTS_AT_EXIT = """
import atexit
import ctypes
import sys

import torch

import beit_mm
from beit_mm.cli.launch import run_tool

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


@pytest.mark.parametrize('status', [0, 75])
def test_end_of_one_process_of_several__nothing_aborts_it(tmp_path, status):
    command = [sys.executable, '-c', ABORTS_AT_EXIT, tmp_path / 'store', str(status)]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (status, ['done', 'left']), done.stderr
