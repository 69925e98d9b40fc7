"""A run of two processes goes on with one, and the other way round."""

import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from same_training import ROOT, train
from tiny_training import tiny_config

pytestmark = pytest.mark.distributed

KINDS = dict(Epoch=4, Iter=20)  # epochs, iterations; an epoch has 5 iterations of 4 samples
KILLED = 7


@MODELS.register_module(force=True)
class TinyLine(BaseModel):
    """Without batch norm and noise, so that a mean over processes is that over the batch."""

    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(4, 3)
        self.seen: list[list[int]] = []
        self.noise: list[list] = []

    def forward(self, inputs, index, noise, mode='loss'):
        self.seen.append(index.tolist())
        self.noise.append(noise.tolist())
        return dict(loss=(self.line(inputs / 10) - inputs[:, 1:] / 10).square().mean())


def config_of(folder, kind, batch, **changes):
    config = tiny_config(folder, kind, KINDS[kind], every=3, **changes)
    config['model'] = dict(type='TinyLine')
    config['train_dataloader']['batch_size'] = batch
    config['train_dataloader']['dataset']['size'] = 20
    config['val_dataloader'] = config['val_evaluator'] = config['val_cfg'] = None
    return config


def told(runner) -> dict:
    model = getattr(runner.model, 'module', runner.model)
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    return dict(seen=model.seen, noise=model.noise, weights=weights.tolist())


PROCESSES = """
import json, sys
import torch
import beit_mm
from mmengine.config import Config
from same_training import train
from test_resume_world_size import KILLED, KINDS, config_of, told

torch.set_num_threads(1)
torch.distributed.init_process_group('gloo')
rank = torch.distributed.get_rank()
wrapper = dict(type='MMDistributedDataParallel', device_ids=None)
found = {}
for kind in KINDS:
    for name, kill, resume, batch in (
        ('calm', None, False, 2), ('two', KILLED, False, 2), ('one', None, True, 2),
        ('one-larger', None, True, 3),
    ):
        if name == 'one-larger' and kind == 'Epoch':
            continue
        folder = f'{sys.argv[1]}/{kind}-{name}'
        config = config_of(folder, kind, batch, launcher='pytorch')
        config['cfg'] = dict(model_wrapper_cfg=wrapper)
        found[f'{kind}-{name}'] = told(train(config, kill, resume))
        torch.distributed.barrier()
json.dump(found, open(f'{sys.argv[1]}/found{rank}.json', 'w'))
"""


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The folder, and what two processes say of their runs; some went on from one process."""
    folder = tmp_path_factory.mktemp('processes')
    for kind in KINDS:
        for name in ('one', 'one-larger'):
            train(config_of(folder / f'{kind}-{name}', kind, 4), KILLED)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    ranks = []
    for rank in range(2):
        environment = dict(os.environ, RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
        environment.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        folders = (ROOT / 'tests/helpers', ROOT, Path(__file__).parent)
        environment['PYTHONPATH'] = os.pathsep.join(map(str, folders))
        with (folder / f'output{rank}').open('w') as output:
            command = [sys.executable, '-c', PROCESSES, str(folder)]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
            ranks.append(process)
    for rank, process in enumerate(ranks):
        assert process.wait(timeout=300) == 0, (folder / f'output{rank}').read_text()[-3000:]
    return folder, [json.loads((folder / f'found{rank}.json').read_text()) for rank in range(2)]


def joint(found, name, key) -> list:
    """Samples of both processes in the order of their places."""
    steps = zip(*(rank[name][key] for rank in found), strict=True)
    return [entry for step in steps for pair in zip(*step, strict=True) for entry in pair]


def flat(batches) -> list:
    return [entry for batch in batches for entry in batch]


def close(a, b) -> bool:
    return torch.allclose(torch.tensor(a), torch.tensor(b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_two_to_one__the_same_samples_and_weights(kind, runs):
    folder, found = runs
    one = told(train(config_of(folder / f'{kind}-two', kind, 4), resume=True))
    done = 6 * 4  # the checkpoint before the kill
    for key in ('seen', 'noise'):  # no sample left out or twice, each with its own augmentation
        assert joint(found, f'{kind}-two', key)[:done] + flat(one[key]) == joint(
            found, f'{kind}-calm', key
        )
    assert close(one['weights'], found[0][f'{kind}-calm']['weights'])
    assert not close(one['weights'], found[0][f'{kind}-two']['weights'])


@pytest.mark.parametrize('kind', KINDS)
def test_one_to_two__the_same_samples_and_weights(kind, runs):
    _, found = runs
    for key in ('seen', 'noise'):
        assert joint(found, f'{kind}-one', key) == joint(found, f'{kind}-calm', key)[6 * 4 :]
    for rank in found:
        assert close(rank[f'{kind}-one']['weights'], found[0][f'{kind}-calm']['weights'])


def test_another_product__iterations_go_on_at_the_same_sample(runs, tmp_path, caplog):
    folder, found = runs
    whole = joint(found, 'Iter-calm', 'seen')
    seen = joint(found, 'Iter-one-larger', 'seen')  # 4 in a step before, 3 for each of two now
    assert seen[: len(whole) - 24] == whole[24:] and len(seen) == 14 * 6
    config = config_of(tmp_path, 'Iter', 5, load_from=str(folder / 'Iter-calm/iter_6.pth'))
    config['log_level'] = 'WARNING'
    with caplog.at_level(logging.WARNING, logger='mmengine'):
        rest = flat(train(config, resume=True).model.seen)
    assert rest[: len(whole) - 24] == whole[24:]


def test_another_product__epochs_refuse_and_say_why(runs, tmp_path):
    folder, _ = runs
    config = config_of(tmp_path, 'Epoch', 3, load_from=str(folder / 'Epoch-two/iter_6.pth'))
    with pytest.raises(ValueError, match='times processes was 4 and is 3') as error:
        train(config, resume=True)
    assert 'load_from' in str(error.value)
