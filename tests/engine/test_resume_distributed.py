"""Two processes on CPUs: resumed, poisoned and stopped together."""

import json
import math
import os
import socket
import subprocess
import sys

import pytest
from same_training import ROOT, assert_same, train
from tiny_training import tiny_config

pytestmark = pytest.mark.distributed

PROCESSES = """
import json, os, signal, sys
import torch
import beit_mm
from beit_mm.engine import UnhealthyTrainingError
from small_runs import small_run
from tiny_training import tiny_config
from mmengine.runner import Runner
from mmengine.config import Config

torch.set_num_threads(1)
torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()

def act(runner, name, action):
    step = runner.model.train_step
    def train_step(*args, **kwargs):
        action(runner.iter)
        return step(*args, **kwargs)
    runner.model.train_step = train_step

def train(name, action=lambda step: None, poison=(), **changes):
    config = tiny_config(f'{sys.argv[1]}/{name}', 'Epoch', 4, launcher='pytorch', **changes)
    config['model']['poison'] = poison
    config['train_dataloader']['batch_size'] = 2
    config['train_dataloader']['dataset']['size'] = 20
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    config['cfg'] = Config(dict(model_wrapper_cfg=wrapper))
    runner = Runner(**config, experiment_name=f'{name}{changes}')
    act(runner, name, action)
    status = None
    try:
        runner.train()
    except (KeyboardInterrupt, SystemExit) as error:
        status = error.code if isinstance(error, SystemExit) else 'killed'
    torch.distributed.barrier()
    model = runner.model.module
    weights = [p.detach().flatten() for p in model.parameters()]
    return dict(seen=model.seen, noise=torch.stack(model.noise).tolist(), status=status,
                weights=torch.cat(weights).tolist(), iter=runner.iter)

def kill(step):
    if step == 8:
        raise KeyboardInterrupt

def signal_one(step):
    if step == 3 and rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)

def ill(name, broken):
    wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
    guard = dict(type='beit_mm.PredictionGuardHook', interval=20, grace=10, action='stop')
    run = small_run(
        f'{sys.argv[1]}/{name}', guard,
        launcher='pytorch', cfg=Config(dict(model_wrapper_cfg=wrapper)), batch_size=4,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.3)),
    )
    run.model.module.broken = broken
    try:
        run.train()
    except UnhealthyTrainingError as error:
        return str(error)

found = dict(
    ill=ill('ill', 'blind'), half=ill('half', 'blind' if rank else ''),
    calm=train('calm'), first=train('chaos', kill), second=train('chaos', resume=True),
    poisoned=train('poisoned', poison=[3]), stopped=train('stopped', signal_one),
)
with open(f'{sys.argv[1]}/found{rank}.json', 'w') as file:
    json.dump(found, file)
torch.distributed.barrier()
os._exit(0)  # a thread of the group may abort a normal end
"""


@pytest.fixture(scope='module')
def two_processes(tmp_path_factory):
    """The folder of the runs, and what each process tells of them."""
    folder = tmp_path_factory.mktemp('two')
    script = folder / 'processes.py'
    script.write_text(PROCESSES)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    ranks = []
    for rank in range(2):
        environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
        environment.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        environment['PYTHONPATH'] = os.pathsep.join([str(ROOT / 'tests/helpers'), str(ROOT)])
        command = [sys.executable, str(script), str(folder)]
        with (folder / f'output{rank}').open('w') as output:
            ranks.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
    try:
        for rank, process in enumerate(ranks):
            assert process.wait(timeout=200) == 0, (folder / f'output{rank}').read_text()[-3000:]
    finally:
        for process in ranks:  # one that waits for the other would wait for good
            process.kill()
    return folder, [json.loads((folder / f'found{rank}.json').read_text()) for rank in range(2)]


def test_two_processes__bit_identical(two_processes, tmp_path):
    folder, found = two_processes
    assert_same(folder / 'calm', folder / 'chaos')
    for rank in found:
        assert rank['first']['status'] == 'killed'
        assert rank['first']['seen'][:6] + rank['second']['seen'] == rank['calm']['seen']
    # both processes' samples are those of one process with the whole batch, noise included
    config = tiny_config(tmp_path, 'Epoch', 1)
    config['train_dataloader']['dataset']['size'] = 20
    one = train(config).model
    for step, (batch, noise) in enumerate(zip(one.seen, one.noise, strict=True)):
        for rank in range(2):
            assert found[rank]['calm']['seen'][step] == batch[rank::2]
            assert found[rank]['calm']['noise'][step] == noise[rank::2].tolist()


def test_two_processes__leave_a_bad_batch_out_together(two_processes):
    folder, found = two_processes
    weights = [rank['poisoned']['weights'] for rank in found]
    assert weights[0] == weights[1]
    assert all(map(math.isfinite, weights[0]))
    lines = (folder / 'poisoned/non_finite_batches.jsonl').read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    for entry in entries:  # by the process that had it
        assert '3.png' in entry['files']
        assert 3 in found[entry['rank']]['poisoned']['seen'][entry['iter'] - 1]
    assert len(entries) == sum(3 in b for rank in found for b in rank['poisoned']['seen'])


def test_two_processes__stop_together_for_a_signal_to_one(two_processes):
    folder, found = two_processes
    assert [(rank['stopped']['status'], rank['stopped']['iter']) for rank in found] == [(75, 3)] * 2
    assert (folder / 'stopped/last_checkpoint').read_text().endswith('/iter_4.pth')


def test_two_processes__guards_judge_both_together(two_processes):
    """Each has half of the images; what one alone sees is no symptom for either."""
    _, found = two_processes
    assert found[0]['ill'] == found[1]['ill']
    assert 'Step 40: model.head answers one class for 100.00% of the images' in found[0]['ill']
    assert [rank['half'] for rank in found] == [None, None]
