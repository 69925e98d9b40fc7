"""What all guards share: telling once, and going on after a resume as if nothing had been."""

import time

import pytest
import torch
from same_training import chaos_resume
from small_runs import small_run, told

from beit_mm.engine.guards.guard_hook import GuardHook, Symptom

KINDS = ('Update', 'Prediction')


class Runner:
    def __init__(self):
        self.iter, self.written = 0, []
        self.logger = type('Logger', (), dict(warning=staticmethod(self.written.append)))


class Scripted(GuardHook):
    """Finds what it is told to; None is too early to judge."""

    def __init__(self, script, **kwargs):
        super().__init__(interval=1, **kwargs)
        self.script = list(script)

    def check(self, runner):
        found = self.script.pop(0)
        if found is not None:
            found = {key: Symptom(key, 'Look', size) for key, size in found.items()}
        return dict(scripted=found)


def steps_told(script):
    runner, guard = Runner(), Scripted(script)
    for runner.iter in range(len(script)):
        guard.after_train_iter(runner, 0)
    return [message.split(':')[0].removeprefix('Step ') for message in runner.written]


def test_symptom__is_told_once():
    assert steps_told([{}, dict(a=1), dict(a=1), dict(a=1)]) == ['2']
    assert steps_told([dict(a=1), dict(a=1, b=1)]) == ['1', '2']


def test_symptom__is_told_again_when_it_comes_back():
    assert steps_told([dict(a=1), {}, {}, dict(a=1)]) == ['1']  # it only flickers
    assert steps_told([dict(a=1), {}, {}, {}, dict(a=1)]) == ['1', '5']
    assert steps_told([dict(a=1), None, None, None, dict(a=1)]) == ['1']


def test_symptom__is_told_again_when_it_has_grown_by_half():
    assert steps_told([dict(a=1), dict(a=1.4), dict(a=1.6), dict(a=2), dict(a=2.5)]) == [
        *('1', '3', '5')
    ]


def test_checks__age_by_their_own_judgments():
    """One that is too early to judge forgets nothing while another one judges."""
    runner, guard = Runner(), Scripted([])
    symptom = Symptom('a', 'Look')
    guard.report(runner, 'Step 1', dict(slow=dict(a=symptom)))
    for _ in range(3):
        guard.report(runner, 'Step 2', dict(slow=None, fast={}))
    guard.report(runner, 'Step 3', dict(slow=dict(a=symptom)))
    assert len(runner.written) == 1


def test_message__has_each_advice_once_and_few_symptoms():
    runner = Runner()
    found = {str(i): Symptom(f's{i}', 'Look up') for i in range(11)}
    Scripted([]).report(runner, 'Step 1', dict(scripted=found))
    assert runner.written == [
        'Step 1: s0; s1; s2; s3; s4; s5; s6; s7; and 3 more. Look up. (Scripted, docs/health.md)'
    ]


def guarded(work_dir, **changes):
    guards = [dict(type=f'beit_mm.{kind}GuardHook', interval=7) for kind in KINDS]
    model = dict(type='PointClassifier', broken='unused')
    checkpoint = dict(type='beit_mm.AtomicCheckpointHook', interval=10, by_epoch=False)
    schedule = [dict(type='LinearLR', start_factor=1.0, end_factor=0.0, end=30, by_epoch=False)]
    return small_run(
        work_dir,
        guards,
        steps=90,
        model=model,
        data=dict(labels='shuffled', size=640),
        param_scheduler=schedule,
        default_hooks=dict(checkpoint=checkpoint, logger=dict(type='LoggerHook', interval=10**6)),
        **changes,
    )


class Killed(BaseException):
    pass


@pytest.mark.parametrize('kill', [13, 37, 64])
def test_resume__judges_as_if_it_had_not_been_interrupted(kill, tmp_path):
    calm = guarded(tmp_path / 'calm')
    calm.train()
    expected = told(calm)
    assert len(expected) >= 3  # the branch, the rate, the loss
    first = guarded(tmp_path / 'chaos')
    step = first.model.train_step

    def killed(*args, **kwargs):
        if first.iter == kill:
            raise Killed
        return step(*args, **kwargs)

    first.model.train_step = killed
    with pytest.raises(Killed):
        first.train()
    while time.strftime('%Y%m%d_%H%M%S') == first.timestamp:  # a log file of its own
        time.sleep(0.05)
    second = guarded(tmp_path / 'chaos', resume=True)
    second.train()
    saved = kill // 10 * 10
    before = [m for m in told(first) if int(m.split('Step ')[1].split(':')[0]) <= saved]
    texts = [[m.split('WARNING - ')[1] for m in messages] for messages in (before, told(second))]
    assert texts[0] + texts[1] == [m.split('WARNING - ')[1] for m in expected]
    states = [
        torch.load(tmp_path / name / 'iter_90.pth', weights_only=True)['module_states']
        for name in ('calm', 'chaos')
    ]
    assert set(states[0][0]) == {f'{kind}GuardHook()' for kind in KINDS}
    assert list(chaos_resume.differences(*states)) == []


@pytest.mark.parametrize('kind', KINDS)
def test_off__looks_at_nothing(kind, tmp_path):
    guard = dict(type=f'beit_mm.{kind}GuardHook', interval=10, action='off')
    optim = dict(optimizer=dict(type='SGD', lr=0.0))
    run = small_run(tmp_path, guard, model=dict(type='PointClassifier', broken='blind'))
    run.train()
    other = small_run(tmp_path / 'rate', guard, optim_wrapper=optim)
    other.train()
    assert told(run) == told(other) == []
    assert run.optim_wrapper.optimizer._optimizer_step_pre_hooks == {}
