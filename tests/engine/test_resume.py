"""A run that was cut off and resumed is the run that wasn't, bit by bit."""

import importlib.util
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_training import TinyMetric, TinyNoise, tiny_config

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location(
    'chaos_resume', ROOT / 'tools/analysis_tools/chaos_resume.py'
)
chaos_resume = importlib.util.module_from_spec(spec)
spec.loader.exec_module(chaos_resume)


class Killed(BaseException):
    """Nothing after it is run, as after SIGKILL."""


def train(config: dict, kill_before: int | None = None, resume: bool = False) -> Runner:
    """Up to the step ``kill_before``, if there is one."""
    config = Config(dict(config, resume=resume, experiment_name=f'tiny{next(numbers)}'))
    runner = Runner(**config)  # without a config to pretty-print into each checkpoint
    if kill_before is not None:
        step = runner.model.train_step

        def killed_in(*args, **kwargs):
            if runner.iter == kill_before:
                raise Killed
            return step(*args, **kwargs)

        runner.model.train_step = killed_in
    try:
        runner.train()
    except Killed:
        pass
    runner.train_loop.dataloader._iterator = None  # persistent workers end now, not at some gc
    return runner


numbers = iter(range(10**6))


def assert_same(calm: Path, chaos: Path) -> None:
    last = chaos_resume.pointed_at(calm, calm), chaos_resume.pointed_at(chaos, chaos)
    states = [chaos_resume.state_of(path) for path in last]
    assert list(chaos_resume.differences(*states)) == []
    assert {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'} <= set(states[0])
    assert chaos_resume.curve_of(calm) == chaos_resume.curve_of(chaos)


ACCUMULATED = dict(
    optimizer=dict(type='AdamW', lr=0.01), accumulative_counts=4, clip_grad=dict(max_norm=1.0)
)
HALF = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**20)
HALF.update(optimizer=dict(type='AdamW', lr=0.01))
CASES = {
    # kind, steps, changes
    'iter': ('Iter', 14, {}),
    'iter_workers': ('Iter', 14, dict(workers=2)),
    'iter_persistent': ('Iter', 14, dict(workers=2, persistent=True)),
    'iter_accumulation': ('Iter', 14, dict(optim_wrapper=ACCUMULATED)),
    'iter_no_seed': ('Iter', 14, dict(randomness=dict(seed=None))),
    'iter_float16': ('Iter', 14, dict(optim_wrapper=HALF)),
    'iter_background': ('Iter', 14, dict(background=True)),
    'epoch': ('Epoch', 3, {}),
    'epoch_persistent': ('Epoch', 3, dict(workers=2, persistent=True)),
    'epoch_accumulation': ('Epoch', 3, dict(optim_wrapper=ACCUMULATED)),
}


@pytest.mark.parametrize('case', CASES)
def test_resume__bit_identical(case, tmp_path):
    kind, steps, changes = CASES[case]
    # two kills, the second one before the next checkpoint or in another epoch
    if case == 'iter_no_seed':
        chaos = tiny_config(tmp_path / 'chaos', kind, steps, **changes)
        seed = train(chaos, kill_before=8).seed
        calm = tiny_config(tmp_path / 'calm', kind, steps, randomness=dict(seed=seed))
        train(calm)
    else:
        calm = tiny_config(tmp_path / 'calm', kind, steps, **changes)
        chaos = tiny_config(tmp_path / 'chaos', kind, steps, **changes)
        train(calm)
        train(chaos, kill_before=8)
    train(chaos, kill_before=10, resume=True)
    train(chaos, resume=True)
    assert_same(tmp_path / 'calm', tmp_path / 'chaos')


def test_resume__at_every_step(tmp_path):
    """Wherever the checkpoint falls in an epoch of six steps, and whatever follows."""
    calm = tiny_config(tmp_path / 'calm', 'Epoch', 2, every=1)
    train(calm)
    for step in range(1, 12):
        name = f'{tmp_path}/chaos{step}'
        chaos = tiny_config(name, 'Epoch', 2, every=1)
        shutil.copytree(tmp_path / 'calm', name)
        Path(name, 'last_checkpoint').write_text(f'iter_{step}.pth')  # killed right after it
        runner = train(chaos, resume=True)
        assert len(runner.model.seen) == 12 - step  # no step is made twice
        assert_same(tmp_path / 'calm', Path(name))


def test_resume__steps_see_what_they_would_have_seen(tmp_path):
    calm = train(tiny_config(tmp_path / 'calm', workers=2)).model
    assert len({tuple(batch) for batch in calm.seen}) == 12
    noise = torch.cat(calm.noise)
    assert len(noise.unique()) == noise.numel()  # no augmentation twice
    chaos = tiny_config(tmp_path / 'chaos', workers=1)
    first = train(chaos, kill_before=8).model
    second = train(chaos, resume=True).model
    assert first.seen[:6] + second.seen == calm.seen
    assert torch.equal(torch.stack(first.noise[:6] + second.noise), torch.stack(calm.noise))


def test_resume__another_batch_size_goes_on_at_the_same_sample(tmp_path):
    calm = train(tiny_config(tmp_path / 'calm', steps=22)).model.seen
    chaos = tiny_config(tmp_path / 'chaos', steps=22)
    train(chaos, kill_before=6)
    chaos['train_dataloader']['batch_size'] = 2
    second = train(chaos, resume=True).model.seen
    flat = [index for batch in calm for index in batch]
    assert [index for batch in second for index in batch] == flat[24 : 24 + 32]
    # and once more: the position is kept, not counted from the iterations
    shutil.copy(tmp_path / 'chaos/iter_12.pth', tmp_path / 'twelve.pth')
    chaos['load_from'] = str(tmp_path / 'twelve.pth')
    assert train(chaos, resume=True).model.seen[0] == flat[36:38]


@pytest.mark.parametrize(
    'change', [dict(batch_size=2), dict(dataset=dict(type='TinyDataset', size=30))]
)
def test_resume__an_epoch_of_another_length_is_refused_in_words(change, tmp_path):
    config = tiny_config(tmp_path, 'Epoch', 3)
    train(config, kill_before=4)
    config['train_dataloader'].update(change)
    with pytest.raises(ValueError, match='Cannot resume at iteration 3.*was .* and is .*load_from'):
        train(config, resume=True)


def test_resume__a_validation_that_was_cut_off_is_made(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, steps=8, every=4)
    with monkeypatch.context() as patch:
        patch.setattr(TinyMetric, 'compute_metrics', lambda *args: (_ for _ in ()).throw(Killed()))
        train(config)
    assert [line['kind'] for line in chaos_resume.curve_of(tmp_path)] == ['train'] * 4
    train(config, resume=True)
    kinds = [(line['kind'], line['iter']) for line in chaos_resume.curve_of(tmp_path)]
    assert kinds == [*(('train', i) for i in range(1, 5)), ('val', 4)] + [
        *(('train', i) for i in range(5, 9)),
        ('val', 8),
    ]


def test_loop__names_the_sampler_that_it_needs(tmp_path):
    config = tiny_config(tmp_path)
    config['train_dataloader']['sampler'] = dict(type='InfiniteSampler')
    with pytest.raises(ValueError, match=r"sampler=dict\(type='beit_mm.ResumableSampler'"):
        train(config)


def test_loop__no_worker_and_a_timeout(tmp_path):
    config = tiny_config(tmp_path, steps=1)
    config['train_dataloader'].update(timeout=60, persistent_workers=True)
    train(config)


def test_hanging_worker__ends_the_run(tmp_path, monkeypatch):
    config = tiny_config(tmp_path, steps=8, workers=1)
    config['custom_hooks'].append(dict(type='beit_mm.WorkerTimeoutHook', seconds=1))
    monkeypatch.setattr(TinyNoise, '__call__', lambda self, results: time.sleep(30))
    with pytest.raises(RuntimeError, match='timed out after 1'):
        train(config)


PROCESSES = """
import json, os, signal, sys
import torch
import beit_mm
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

found = dict(
    calm=train('calm'), first=train('chaos', kill), second=train('chaos', resume=True),
    poisoned=train('poisoned', poison=[3]), stopped=train('stopped', signal_one),
)
json.dump(found, open(f'{sys.argv[1]}/found{rank}.json', 'w'))
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
        environment['PYTHONPATH'] = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
        command = [sys.executable, str(script), str(folder)]
        with (folder / f'output{rank}').open('w') as output:
            ranks.append(subprocess.Popen(command, env=environment, stdout=output, stderr=output))
    for rank, process in enumerate(ranks):
        assert process.wait(timeout=200) == 0, (folder / f'output{rank}').read_text()[-3000:]
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
    assert (folder / 'stopped/last_checkpoint').read_text() == 'iter_4.pth'


def test_chaos__sigkill_of_real_processes(tmp_path, monkeypatch):
    config = tiny_config('unused', steps=30, workers=1, every=4)
    config['custom_imports'] = dict(imports=['tiny_training'])
    config.pop('work_dir')
    path = tmp_path / 'config.py'
    path.write_text(Config(config).pretty_text)
    monkeypatch.setenv('PYTHONPATH', str(Path(__file__).parent))
    rows, found = chaos_resume.chaos(str(path), tmp_path / 'runs', 1, 1, 1, [])
    assert found == []
