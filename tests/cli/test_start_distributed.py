import os
import socket

import pytest
import torch
from mmengine.config import Config, ConfigDict

from beit_mm.cli.start_distributed import (
    LAUNCHERS,
    place_of_process,
    start_distributed,
    why_not_connected,
)
from beit_mm.contracts import UserError


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


@pytest.mark.parametrize(
    'launcher, name, value',
    [
        ('pytorch', 'WORLD_SIZE', 'abc'),
        ('pytorch', 'RANK', '-1'),
        ('pytorch', 'MASTER_PORT', 'http'),
        ('slurm', 'SLURM_NTASKS', '²'),
        ('mpi', 'OMPI_COMM_WORLD_LOCAL_RANK', ''),
        ('pytorch', 'WORLD_SIZE', '0'),
        ('pytorch', 'MASTER_PORT', '99999'),
        ('pytorch', 'LOCAL_RANK', 'abc'),
    ],
)
def test_variables_that_are_no_numbers__are_named(no_gpu, monkeypatch, launcher, name, value):
    for known in LAUNCHERS[launcher].values():
        monkeypatch.setenv(known, '1')
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f'{name} is {value!r}; expected a number'):
        start_distributed(ONE_DEVICE, launcher)
    assert place_of_process('none') == (0, 1) and not no_gpu  # it needs none of them


def test_place__as_the_launcher_says(no_gpu, monkeypatch):
    for name, value in dict(RANK='1', WORLD_SIZE='2').items():
        monkeypatch.setenv(name, value)
    for name, value in dict(PROCID='3', NTASKS='16', LOCALID='0').items():
        monkeypatch.setenv(f'SLURM_{name}', value)
    assert [place_of_process(n) for n in ('none', 'pytorch', 'slurm')] == [(0, 1), (1, 2), (3, 16)]
    with pytest.raises(UserError, match='OMPI_COMM_WORLD_RANK is not set'):
        place_of_process('mpi')


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
def test_processes_on_cpus_need_a_wrapper_without_devices(no_gpu, config, monkeypatch):
    for name, value in dict(RANK='0', WORLD_SIZE='2').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match='device_ids=None'):
        start_distributed(ConfigDict(config), 'pytorch')


def test_one_process_needs_nothing(no_gpu):
    start_distributed(ConfigDict(), 'none')
    assert no_gpu == []


def test_taken_port__is_said(no_gpu, monkeypatch):
    monkeypatch.undo()  # the real process group
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    with socket.socket() as taken:
        taken.bind(('0.0.0.0', 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in dict(RANK='0', WORLD_SIZE='2', MASTER_ADDR='127.0.0.1').items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv('MASTER_PORT', port)
        with pytest.raises(UserError, match=f'port {port} is taken.*PORT='):
            start_distributed(ONE_DEVICE, 'pytorch')


def test_processes_that_do_not_meet__are_said():
    error = torch.distributed.DistStoreError('wait timeout after 300000ms\nmore')
    message = why_not_connected(error)
    assert 'did not meet at MASTER_ADDR=' in message and message.count('\n') == 0
