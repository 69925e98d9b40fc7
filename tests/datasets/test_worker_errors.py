"""Data workers that die or hang, in a real loop: words that say which files were in work."""

import os
import re
import signal
import time

import pytest
from mmengine.registry import TRANSFORMS
from same_training import train
from tiny_training import TinyNoise, tiny_config
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from beit_mm.cli.run_tool import message_for_user
from beit_mm.datasets.ignore_interrupt import _held_back
from beit_mm.datasets.worker_errors import DataWorkerError, why_worker_failed

pytestmark = pytest.mark.slow


class Unlucky(TinyNoise):
    """Ends or stops its process at one sample."""

    def __init__(self, what: str):
        self.what = what

    def __call__(self, results):
        if results['value'] == 5.0:
            if self.what == 'hang':
                time.sleep(60)
            os.kill(os.getpid(), signal.Signals[self.what])
        return super().__call__(results)


@pytest.mark.parametrize(
    'what, kind, words',
    [
        ('SIGKILL', 'Iter', 'memory of the machine'),
        ('SIGBUS', 'Epoch', '/dev/shm'),
        ('SIGABRT', 'Epoch', 'check_dataset'),
        ('hang', 'Iter', 'longer than the timeout'),
    ],
)
def test_training__says_what_to_do_and_names_the_files(what, kind, words, tmp_path, monkeypatch):
    monkeypatch.setitem(TRANSFORMS._module_dict, 'TinyNoise', lambda: Unlucky(what))
    config = tiny_config(tmp_path, kind, steps=9, workers=1, every=50)
    config['train_dataloader']['timeout'] = 3 if what == 'hang' else 0
    with pytest.raises(DataWorkerError) as caught:
        train(config)
    message = message_for_user(caught.value)
    assert words in message and '--resume' in message and 'Traceback' not in message
    named = re.search(r'The batch that was waited for has (.*)\. Go on', message)[1].split(', ')
    assert len(named) in (2, 4) and (what != 'hang' or '5.png' in named)


@pytest.mark.parametrize(
    'error', [RuntimeError('CUDA error'), ValueError('DataLoader x'), KeyError(1)]
)
def test_other_errors__are_none_of_a_worker(error):
    assert why_worker_failed(error) is None


def test_worker__that_is_not_reaped_yet_when_its_files_are_closed():
    class Worker:
        pid, exitcode, (sentinel, end) = 7, None, os.pipe()

        def join(self, timeout):
            self.exitcode = -signal.SIGKILL

    worker = Worker()
    os.close(worker.end)
    iterator = object.__new__(_MultiProcessingDataLoaderIter)
    iterator._workers, iterator._workers_status = [worker], []
    said = why_worker_failed(ConnectionResetError('Connection reset by peer'), iterator)
    os.close(worker.sentinel)
    assert 'memory of the machine' in said


def test_shared_memory():
    error = RuntimeError(
        'DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ...'
    )
    assert '/dev/shm' in why_worker_failed(error)


def test_handler_of_torch__from_another_loader_does_not_stay():
    """It would raise wherever the training is when a worker dies."""

    def handler(signum, frame):
        raise RuntimeError('DataLoader worker is killed')

    handler.__module__ = 'torch.utils.data._utils.signal_handling'
    before = signal.signal(signal.SIGCHLD, handler)
    try:
        with _held_back():
            pass
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with _held_back():
            pass
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)
