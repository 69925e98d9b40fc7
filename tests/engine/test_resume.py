"""A run that was cut off and resumed is the run that wasn't, bit by bit."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_training import tiny_config

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
CASES = {
    # kind, steps, changes
    'iter': ('Iter', 14, {}),
    'iter_workers': ('Iter', 14, dict(workers=2)),
    'iter_persistent': ('Iter', 14, dict(workers=2, persistent=True)),
    'iter_accumulation': ('Iter', 14, dict(optim_wrapper=ACCUMULATED)),
    'iter_no_seed': ('Iter', 14, dict(randomness=dict(seed=None))),
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
