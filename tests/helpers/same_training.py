"""What the tests of resuming share: one run in this process, and the comparison of two."""

from pathlib import Path

from mmengine.config import Config
from mmengine.runner import Runner

from beit_mm.engine import AtomicCheckpointHook
from benchmarks import chaos_resume

ROOT = Path(__file__).resolve().parents[2]
numbers = iter(range(10**6))


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
        for hook in runner.hooks:  # the kernel lets go of the lock
            if isinstance(hook, AtomicCheckpointHook):
                hook.after_run(runner)
    runner.train_loop.dataloader._iterator = None  # persistent workers end now, not at some gc
    return runner


def assert_same(calm: Path, chaos: Path) -> None:
    last = chaos_resume.pointed_at(calm, calm), chaos_resume.pointed_at(chaos, chaos)
    states = [chaos_resume.read_state(path) for path in last]
    assert list(chaos_resume.differences(*states)) == []
    assert {'state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'} <= set(states[0])
    assert chaos_resume.read_curve(calm) == chaos_resume.read_curve(chaos)
