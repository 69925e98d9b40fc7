"""What the tools make of their arguments, without running them."""

import argparse
import importlib.util
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config

from beit_mm.checkpoints.store import retire
from beit_mm.contracts import UserError

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def module(name):
    spec = importlib.util.spec_from_file_location(f'tool_{name}', TOOLS / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


@pytest.fixture(scope='module')
def train():
    return module('train')


@pytest.fixture(scope='module')
def evaluate():
    return module('test')


def arguments(**given):
    nothing = dict(work_dir=None, resume=None, amp=False, auto_scale_lr=False, launcher='none')
    return argparse.Namespace(config='configs/a/b.py', **{**nothing, **given})


@pytest.fixture
def config():
    return Config(
        dict(
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
            load_from='start.pth',
            resume=False,
        )
    )


def test_work_dir__named_after_the_config_unless_it_is_given(train, config):
    assert train.merge_args(config, arguments()).work_dir == os.path.join('work_dirs', 'b')
    config.work_dir = 'own'
    assert train.merge_args(config, arguments()).work_dir == 'own'
    assert train.merge_args(config, arguments(work_dir='other')).work_dir == 'other'


def test_resume__without_a_checkpoint_a_run_begins_as_its_config_says(train, config, tmp_path):
    begun = train.merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (begun.resume, begun.load_from) == (False, 'start.pth')
    (tmp_path / 'iter_2.pth').touch()
    again = train.merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (again.resume, again.load_from) == (True, None)
    retire(tmp_path, tmp_path)  # by a new run that was killed before it saved
    config.load_from = 'start.pth'
    anew = train.merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (anew.resume, anew.load_from) == (False, 'start.pth')
    (tmp_path / 'last_checkpoint').write_text('elsewhere/iter_2.pth')  # out_dir
    again = train.merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (again.resume, again.load_from) == (True, None)


def test_resume__from_a_checkpoint(train, config, tmp_path):
    path = tmp_path / 'other.pth'
    with pytest.raises(UserError, match='--resume: there is no checkpoint'):
        train.merge_args(config, arguments(resume=str(path)))
    path.touch()
    merged = train.merge_args(config, arguments(resume=str(path)))
    assert (merged.resume, merged.load_from) == (True, str(path))


@pytest.mark.parametrize(
    'given',
    ['OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper', 'beit_mm.AutocastOptimWrapper'],
)
def test_amp__takes_the_place_of_each_wrapper(train, config, given, monkeypatch):
    config.optim_wrapper.update(type=given, clip_grad=dict(max_norm=1.0))
    if given == 'AmpOptimWrapper':
        config.optim_wrapper.loss_scale = 'dynamic'
    for gpu, dtype in ((True, 'float16'), (False, 'bfloat16')):
        monkeypatch.setattr('torch.cuda.is_available', lambda gpu=gpu: gpu)
        config.optim_wrapper.pop('dtype', None)
        merged = train.merge_args(config, arguments(amp=True)).optim_wrapper
        assert merged == dict(
            type='beit_mm.AutocastOptimWrapper',
            optimizer=dict(type='SGD', lr=0.1),
            clip_grad=dict(max_norm=1.0),
            dtype=dtype,
        )
    # On a GPU the config has a say, on CPUs there is bfloat16 alone.
    for gpu, dtype in ((True, 'float16'), (True, 'bfloat16'), (False, 'float16')):
        monkeypatch.setattr('torch.cuda.is_available', lambda gpu=gpu: gpu)
        config.optim_wrapper.dtype = dtype
        merged = train.merge_args(config, arguments(amp=True)).optim_wrapper
        assert merged.dtype == (dtype if gpu else 'bfloat16')


def test_amp__does_not_replace_a_wrapper_that_it_does_not_know(train, config):
    config.optim_wrapper.type = 'GaLoreWrapper'
    with pytest.raises(UserError, match='--amp: optim_wrapper.type is GaLoreWrapper'):
        train.merge_args(config, arguments(amp=True))


def test_auto_scale_lr__counts_accumulated_batches(train, config):
    with pytest.raises(UserError, match='auto_scale_lr.base_batch_size'):
        train.merge_args(config, arguments(auto_scale_lr=True))
    config.auto_scale_lr = dict(base_batch_size=16)
    merged = train.merge_args(config, arguments(auto_scale_lr=True))
    assert merged.auto_scale_lr == dict(base_batch_size=16, enable=True)


@pytest.mark.parametrize('enable', [False, True])
def test_auto_scale_lr__of_the_config_counts_them_too(enable, train):
    """And leaves the config alone, which may be started from once more."""
    config = Config(dict(optim_wrapper=dict(accumulative_counts=4)))
    config.auto_scale_lr = dict(base_batch_size=16, enable=enable)
    runner = SimpleNamespace(cfg=config, auto_scale_lr=config.auto_scale_lr)
    train.count_accumulated(runner)
    assert runner.auto_scale_lr == dict(base_batch_size=4 if enable else 16, enable=enable)
    assert config.auto_scale_lr.base_batch_size == 16
    train.count_accumulated(SimpleNamespace(cfg=config, auto_scale_lr=None))


def test_evaluation_does_not_read_what_training_started_from(evaluate):
    start = dict(type='Pretrained', checkpoint='x.pth')
    normal = dict(type='Normal', layer='Linear', std=0.01)
    config = Config(
        dict(
            model=dict(
                init_cfg=start,
                backbone=dict(init_cfg=dict(start, prefix='backbone.')),
                head=dict(init_cfg=[dict(normal), dict(start)]),
                heads=[dict(init_cfg=dict(start)), dict(init_cfg=None, a=[1, 'Pretrained'])],
            )
        )
    )
    evaluate.drop_pretrained(config.model, held={'backbone.cls_token'})
    assert 'x.pth' not in config.pretty_text
    assert config.model.head.init_cfg == [normal]
    assert config.model.init_cfg is None and config.model.backbone.init_cfg is None
    assert config.model.heads[1].a == [1, 'Pretrained']


def test_metrics_become_json(evaluate):
    metrics = [np.float32(0.5), np.arange(2), torch.tensor([0.25, 1]), torch.tensor(3), 2, 1.5]
    text = json.dumps([evaluate.plain(value) for value in metrics])
    assert json.loads(text) == [0.5, [0, 1], [0.25, 1.0], 3, 2, 1.5]


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
