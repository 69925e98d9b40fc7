"""The shell scripts that start several processes: what they run, without running it."""

import os
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def script(name, *arguments, path=None, **environment):
    environment = {**os.environ, **environment}
    if path:
        environment['PATH'] = f'{path}:{environment["PATH"]}'
    return subprocess.run(
        ['bash', TOOLS / name, *arguments], env=environment, capture_output=True, text=True
    )


@pytest.fixture
def echo(tmp_path):
    """Programs that print their arguments, one a line."""
    for name in ('srun', 'python'):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho ' + name + '\nprintf "%s\\n" "$@"\n')
        program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    'name, arguments',
    [
        ('dist_train.sh', []),
        ('dist_train.sh', ['a.py']),
        ('dist_test.sh', ['a.py', 'b.pth']),
        ('slurm_train.sh', ['partition', 'job']),
    ],
)
def test_scripts__too_few_arguments(echo, name, arguments):
    done = script(name, *arguments, path=echo)
    assert done.returncode != 0 and done.stdout == ''
    assert f'usage: {name} ' in done.stderr


def test_dist_scripts__command_line(echo):
    variables = dict(PYTHON='python', PORT='1234', NNODES='2', NODE_RANK='1', MASTER_ADDR='first')
    start = ['python', '-m', 'torch.distributed.run', '--nnodes=2', '--node_rank=1']
    start += ['--master_addr=first', '--master_port=1234', '--nproc_per_node=4']
    done = script('dist_train.sh', 'a b.py', '4', '--work-dir', 'x y', path=echo, **variables)
    own = [str(TOOLS / 'train.py'), 'a b.py', '--launcher', 'pytorch', '--work-dir', 'x y']
    assert done.stdout.splitlines() == start + own
    done = script('dist_test.sh', 'a.py', 'b.pth', '4', '--out', 'o.json', path=echo, **variables)
    own = [str(TOOLS / 'test.py'), 'a.py', 'b.pth', '--launcher', 'pytorch', '--out', 'o.json']
    assert done.stdout.splitlines() == start + own


def test_slurm_script__command_line(echo):
    variables = dict(PYTHON='python', GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='6')
    variables['SRUN_ARGS'] = '--qos=low --time=10'
    done = script('slurm_train.sh', 'gpu', 'my job', 'a.py', '--amp', path=echo, **variables)
    assert done.stdout.splitlines() == [
        *('srun', '--partition=gpu', '--job-name=my job', '--gres=gpu:4', '--ntasks=16'),
        *('--ntasks-per-node=4', '--cpus-per-task=6', '--kill-on-bad-exit=1'),
        *('--qos=low', '--time=10', 'python', '-u', str(TOOLS / 'train.py'), 'a.py'),
        *('--launcher', 'slurm', '--amp'),
    ]


@pytest.mark.parametrize('gpus, per_node', [('2', '2'), ('8', '8'), ('32', '8')])
def test_slurm_script__no_more_processes_on_a_node_than_there_are(echo, gpus, per_node):
    lines = script('slurm_train.sh', 'p', 'j', 'a.py', path=echo, GPUS=gpus).stdout.splitlines()
    assert f'--ntasks-per-node={per_node}' in lines and f'--gres=gpu:{per_node}' in lines
