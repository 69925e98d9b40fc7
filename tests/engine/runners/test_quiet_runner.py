import warnings
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_training import TinyModel, tiny_config

from beit_mm.contracts.load_report import check_load
from beit_mm.engine.runners import QuietRunner


def runner_of(folder, name, **changes) -> QuietRunner:
    config = dict(tiny_config(folder, steps=4, log_level='INFO'), experiment_name=name, **changes)
    return QuietRunner.from_cfg(Config(config))


@pytest.fixture
def loads_and_warns(monkeypatch):
    """A model that is loaded from something, and says things as it starts."""

    def init_weights(self):
        check_load(self.head, self.head.state_dict())
        warnings.warn('of Python', stacklevel=1)

    monkeypatch.setattr(TinyModel, 'init_weights', init_weights)


def test_terminal__a_few_lines_then_the_warnings_then_the_first_step(
    tmp_path, capsys, loads_and_warns
):
    runner = runner_of(tmp_path, 'quiet')
    runner.logger.warning('of the start')
    runner.optim_wrapper['accumulative_counts'] = 2
    shown = warnings.showwarning
    runner.train()
    assert warnings.showwarning is not shown
    lines = [line.split(' - ', 2)[-1] for line in capsys.readouterr().out.splitlines()]
    starts = [line.removeprefix('INFO - ') for line in lines[:10]]
    assert [line.split(': ')[0] for line in starts[:6]] == [
        *('Model', 'Data', 'Batch', 'Learning rate', 'Files', 'Loaded')
    ]
    assert 'TinyModel' in starts[0] and f'{8 * 4 + 8 + 16 + 9:,} trainable' in starts[0]
    assert '22 samples to train on (TinyDataset), 8 samples to val' in starts[1]
    assert starts[2].startswith('Batch: 4 per process x 2 accumulated = 8; 4 steps, 0.727 passes')
    assert starts[5] == 'Loaded: Linear: 2 of 2 tensors matched'
    assert starts[6:8] == ['WARNING - of the start', 'WARNING - UserWarning: of Python']
    assert starts[8].startswith('WARNING - Gradient accumulative may')
    assert starts[9].startswith('First step: loss ')
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    for text in ('Hooks will be executed', 'Environment:', 'threads: ', 'of Python'):
        assert text in log
    assert 'TinyModel' in (tmp_path / f'{runner.timestamp}.py').read_text()


def test_terminal__a_start_that_fails_keeps_no_warning_back(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(TinyModel, 'init_weights', lambda self: 1 / 0)
    runner = runner_of(tmp_path, 'fails')
    runner.logger.warning('before the end')
    with pytest.raises(ZeroDivisionError):
        runner.train()
    assert 'before the end' in capsys.readouterr().out
