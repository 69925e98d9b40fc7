import logging
import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_training import TinyMetric, tiny_config

import beit_mm
from beit_mm.engine.hooks import EtaTimerHook


def runner_of(config, name) -> Runner:
    return Runner(**Config(dict(config, experiment_name=name)))


def log_of(runner) -> str:
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def test_log__command_versions_and_code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', 'a config.py'])
    monkeypatch.setattr(sys, 'excepthook', sys.__excepthook__)
    runner = runner_of(tiny_config(tmp_path, steps=1, log_level='INFO'), 'record')
    before = sys.excepthook
    runner.train()
    assert sys.excepthook is before
    log = log_of(runner)
    assert "tools/train.py 'a config.py'" in log
    assert f'beit_mm {beit_mm.__version__}, torch ' in log
    # installed without its history, the place alone can be told
    assert re.search(
        r'Code: .*beit_mm, (git [0-9a-f]{40} \((clean|changed files)\)|installed)', log
    )


def test_log__uncaught_exception(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(sys, 'excepthook', lambda *error: told.append(error))
    monkeypatch.setattr(TinyMetric, 'compute_metrics', lambda *args: 1 / 0)
    runner = runner_of(tiny_config(tmp_path, steps=4), 'trace')
    with pytest.raises(ZeroDivisionError) as caught:
        runner.train()
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert told[0][0] is ZeroDivisionError
    log = log_of(runner)
    assert 'CRITICAL - Uncaught exception' in log and 'ZeroDivisionError: division by zero' in log


def failing(tmp_path, monkeypatch, name):
    """A run that ends with an error, and what its excepthook handed on."""
    handed = []
    monkeypatch.setattr(sys, 'excepthook', lambda *error: handed.append(error))
    monkeypatch.setattr(TinyMetric, 'compute_metrics', lambda *args: 1 / 0)
    runner = runner_of(tiny_config(tmp_path, steps=4), name)
    with pytest.raises(ZeroDivisionError) as caught:
        runner.train()
    return runner, (caught.type, caught.value, caught.tb), handed


def test_log__of_a_process_without_a_log_file(tmp_path, monkeypatch):
    runner, error, handed = failing(tmp_path, monkeypatch, 'rank')
    for handler in list(runner.logger.handlers):
        if isinstance(handler, logging.FileHandler):
            runner.logger.removeHandler(handler)
            handler.close()
    sys.excepthook(*error)
    text = (Path(runner.log_dir) / 'rank0_traceback.log').read_text()
    assert 'Uncaught exception' in text and 'ZeroDivisionError' in text
    assert handed == [error]


def test_log__full_disk_hides_no_error(tmp_path, monkeypatch):
    _, error, handed = failing(tmp_path, monkeypatch, 'full')

    def full(self, record):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(logging.FileHandler, 'handle', full)
    sys.excepthook(*error)
    assert handed == [error]


def test_log__a_second_run_after_one_that_failed(tmp_path, monkeypatch):
    """The error goes to the log of the run that it ended, and to the terminal once."""
    first, _, handed = failing(tmp_path / 'first', monkeypatch, 'first')
    before = sys.excepthook
    config = tiny_config(tmp_path / 'second', steps=4)
    second = runner_of(config, 'second')
    with pytest.raises(ZeroDivisionError) as caught:
        second.train()
    assert sys.excepthook is before
    sys.excepthook(caught.type, caught.value, caught.tb)
    assert len(handed) == 1
    assert 'Uncaught' in log_of(second) and 'Uncaught' not in log_of(first)


@pytest.mark.parametrize(
    ('kind', 'steps', 'interval', 'begin'),
    [('Iter', 10, 4, 1), ('Iter', 8, 4, 1), ('Iter', 9, 2, 5), ('Epoch', 3, 2, 1)],
)
def test_eta__counts_the_validations_to_come(kind, steps, interval, begin, tmp_path, monkeypatch):
    left, done = [], []
    count = EtaTimerHook.validations_left

    def noted(runner):
        left.append((len(done), count(runner)))
        return left[-1][1]

    monkeypatch.setattr(EtaTimerHook, 'validations_left', staticmethod(noted))
    monkeypatch.setattr(TinyMetric, 'compute_metrics', lambda *args: done.append(1) or {'score': 0})
    config = tiny_config(tmp_path, kind, steps)
    config['train_cfg'].update(val_interval=interval, val_begin=begin)
    runner_of(config, f'eta{kind}{steps}').train()
    assert left
    assert {before + to_come for before, to_come in left} == {len(done)}
