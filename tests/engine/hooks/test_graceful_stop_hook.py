import os
import signal
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_training import tiny_config

numbers = iter(range(10**6))


def runner_of(config, **options) -> Runner:
    name = f'stop{next(numbers)}'
    return Runner(**Config(dict(config, experiment_name=name, **options)))


def signal_in(runner, step: int, number: int) -> None:
    train_step = runner.model.train_step

    def signalled(*args, **kwargs):
        if runner.iter == step - 1:
            os.kill(os.getpid(), number)
        return train_step(*args, **kwargs)

    runner.model.train_step = signalled


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('by_epoch', [False, True])
def test_signal__saves_at_the_next_update_and_exits(number, by_epoch, tmp_path):
    config = tiny_config(tmp_path, 'Epoch', 3, every=50)
    optim = dict(optimizer=dict(type='SGD', lr=1e-3), accumulative_counts=4)
    config['default_hooks']['checkpoint'].update(by_epoch=by_epoch, interval=1 if by_epoch else 50)
    before = signal.getsignal(number)
    runner = runner_of(config, optim_wrapper=optim)
    signal_in(runner, 10, number)
    with pytest.raises(SystemExit) as stop:
        runner.train()
    assert stop.value.code == 75
    assert signal.getsignal(number) == before
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == 'iter_12.pth'  # not 10
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert f'{number.name} after iteration 12: saved {tmp_path}/iter_12.pth' in log
    again = runner_of(config, optim_wrapper=optim, resume=True)
    again.train()
    assert len(runner.model.seen) + len(again.model.seen) == 18
    # a stop's own file goes when the next regular one is there
    assert (tmp_path / 'iter_12.pth').exists() == (not by_epoch)


def test_signal__that_ended_the_reader_of_the_output_too(tmp_path, monkeypatch):
    """As Ctrl-C does in ``python tools/train.py ... 2>&1 | tee log``."""
    reader, writer = os.pipe()
    runner = runner_of(tiny_config(tmp_path, steps=9, every=50))
    signal_in(runner, 3, signal.SIGINT)
    before = os.dup(2)
    os.dup2(writer, 2)
    os.close(reader)
    monkeypatch.setattr(sys, 'stderr', os.fdopen(writer, 'w'))
    try:
        with pytest.raises(SystemExit) as stop:
            runner.train()
    finally:
        os.dup2(before, 2)
        os.close(before)
    assert stop.value.code == 75
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == 'iter_3.pth'


def test_no_signal__handlers_are_put_back(tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    runner_of(tiny_config(tmp_path, steps=2)).train()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_second_signal__is_not_held_back(tmp_path):
    runner = runner_of(tiny_config(tmp_path, steps=9))
    train_step = runner.model.train_step

    def twice(*args, **kwargs):
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)  # its handler is done when this returns
        return train_step(*args, **kwargs)

    runner.model.train_step = twice
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a background job
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    finally:
        signal.signal(signal.SIGINT, before)


def test_signal__that_ends_the_workers_too(tmp_path):
    """As when a batch system signals every process of the job."""
    config = tiny_config(tmp_path, steps=300, workers=2, every=500)
    runner = runner_of(config)
    train_step = runner.model.train_step

    def signalled(*args, **kwargs):
        if runner.iter == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            for worker in workers():
                os.kill(worker, signal.SIGKILL)
        return train_step(*args, **kwargs)

    def workers():
        path = Path(f'/proc/{os.getpid()}/task/{os.getpid()}/children')
        return [int(pid) for pid in path.read_text().split()]

    runner.model.train_step = signalled
    with pytest.raises(SystemExit):
        runner.train()
    saved = Path((tmp_path / 'last_checkpoint').read_text()).name
    assert saved == 'iter_5.pth'
