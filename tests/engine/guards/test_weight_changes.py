import math

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from small_runs import small_run, told, train

from beit_mm.engine import UnhealthyTrainingError, UpdateGuardHook
from beit_mm.engine.guards import weight_changes

GUARD = dict(type='beit_mm.UpdateGuardHook', interval=20)


def scheduled(kind, **settings):
    return [dict(type=kind, by_epoch=False, **settings)]


def optim(lr=0.02, **settings):
    return dict(optimizer=dict(type='SGD', lr=lr), **settings)


HEALTHY = dict(
    constant={},
    # each of its values is held for an epoch of eight iterations
    cosine_by_epoch=dict(
        train_cfg=dict(type='beit_mm.ResumableEpochLoop', max_epochs=12),
        param_scheduler=[dict(type='CosineAnnealingLR', T_max=30, end=1000, by_epoch=True)],
    ),
    warm_up=dict(param_scheduler=scheduled('LinearLR', start_factor=1e-6, end=100)),
    poly=dict(param_scheduler=scheduled('PolyLR', power=1.0, eta_min=0.0, end=101)),
    # over, with a rate that is not 0
    cosine_is_over=dict(param_scheduler=scheduled('CosineAnnealingLR', eta_min=1e-4, end=30)),
    steps=dict(param_scheduler=scheduled('MultiStepLR', milestones=[90])),
    flat=dict(param_scheduler=scheduled('LinearLR', start_factor=1.0, end=100)),
    accumulation=dict(optim_wrapper=optim(accumulative_counts=30)),
    half=dict(optim_wrapper=optim(type='beit_mm.AutocastOptimWrapper', dtype='float16')),
)


@pytest.mark.parametrize('case', HEALTHY)
@pytest.mark.parametrize('interval', [1, 20])
def test_healthy__nothing_to_tell(case, interval, tmp_path):
    assert told(train(tmp_path, dict(GUARD, interval=interval), steps=100, **HEALTHY[case])) == []


def test_rate_of_zero__from_the_beginning(tmp_path):
    (message,) = told(train(tmp_path, GUARD, optim_wrapper=optim(lr=0.0)))
    assert 'Step 20: the learning rate is 0, with 40 iterations to go' in message
    assert 'Set optim_wrapper.optimizer.lr' in message


def test_rate_of_zero__after_a_schedule(tmp_path):
    ended = scheduled('LinearLR', start_factor=1.0, end_factor=0.0, end=45)
    (message,) = told(train(tmp_path, GUARD, steps=100, param_scheduler=ended))
    assert 'Step 80: the learning rate is 0, with 20 iterations to go' in message  # 60 has some
    assert 'The schedules end too early' in message


def test_rate_of_zero__at_the_very_end_is_healthy(tmp_path):
    ended = scheduled('LinearLR', start_factor=1.0, end_factor=0.0, end=60)
    assert told(train(tmp_path, GUARD, steps=80, param_scheduler=ended)) == []


def test_rate_of_zero__of_some_weights(tmp_path):
    wrapper = optim(paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=0.0)}))
    (message,) = told(train(tmp_path, GUARD, optim_wrapper=wrapper))
    assert 'the learning rate of 2 tensors is 0: head (2 tensors)' in message
    assert 'lr_mult' in message


def test_schedule__that_nobody_steps(tmp_path):
    run = small_run(
        tmp_path, GUARD, param_scheduler=scheduled('CosineAnnealingLR', T_max=100, end=100)
    )
    run._hooks = [hook for hook in run.hooks if type(hook).__name__ != 'ParamSchedulerHook']
    run.train()
    (message,) = told(run)
    assert 'Step 20: the learning rate has been 0.02 since iteration 1' in message
    assert 'CosineAnnealingLR is at work from 0 to 100' in message
    assert 'default_hooks.param_scheduler is missing' in message


def test_schedule__of_epochs_in_a_loop_of_iterations(tmp_path):
    for kind in (
        dict(type='CosineAnnealingLR', T_max=100),
        dict(type='MultiStepLR', milestones=[1]),
    ):
        work_dir = tmp_path / kind['type']
        (message,) = told(train(work_dir, GUARD, param_scheduler=[dict(kind, by_epoch=True)]))
        assert 'Step 20: the learning rate has been 0.02 since iteration 1' in message
        assert 'set by_epoch=False' in message


@HOOKS.register_module(force=True)
class SecondOptimizer(Hook):
    def before_run(self, runner):
        runner.optim_wrapper = OptimWrapper(torch.optim.SGD(runner.model.parameters(), lr=0.01))


def test_schedule__of_another_optimizer(tmp_path):
    schedule = scheduled('LinearLR', start_factor=0.1, end=90)
    guards = [dict(type='SecondOptimizer'), GUARD]
    (message,) = told(train(tmp_path, guards, param_scheduler=schedule))
    assert 'has been 0.01 since iteration 1, though a LinearLR' in message
    assert "The schedule moves another optimizer's rate" in message


def test_weights__that_the_optimizer_has_not_got(tmp_path):
    run = small_run(tmp_path, GUARD)
    build = run.build_optim_wrapper

    def before_the_head_is_replaced(config):
        wrapper = build(config)
        run.model.head.fc = torch.nn.Linear(8, 4)
        return wrapper

    run.build_optim_wrapper = before_the_head_is_replaced
    run.train()
    (message,) = told(run)
    assert 'At the start: 2 of 6 trainable tensors are in no group' in message
    assert 'stay as they are: head (2 tensors)' in message
    assert "2 of the optimizer's 6 tensors are not the model's" in message


def test_updates__that_change_nothing(tmp_path):
    """1e-12 of a weight is less than float32 has digits for."""
    (message,) = told(train(tmp_path, GUARD, optim_wrapper=optim(lr=1e-12)))
    assert 'Step 20: 20 updates left each weight of the model as it was' in message
    assert 'learning rate 1e-12' in message


def test_no_updates(tmp_path):
    run = small_run(tmp_path, GUARD)
    run.model.train_step = lambda data, optim_wrapper: {}
    run.train()
    (message,) = told(run)
    assert 'Step 20: none of the last 20 iterations updated the weights' in message


def test_stop(tmp_path):
    with pytest.raises(UnhealthyTrainingError, match='Step 20: the learning rate is 0'):
        train(tmp_path, dict(GUARD, action='stop'), optim_wrapper=optim(lr=0.0))


def test_handles__are_given_back(tmp_path):
    run = train(tmp_path, GUARD)
    assert run.optim_wrapper.optimizer._optimizer_step_pre_hooks == {}
    assert UpdateGuardHook().interval == 100


def test_rate_of_zero__of_weights_that_are_frozen_on_purpose(tmp_path):
    wrapper = optim(paramwise_cfg=dict(custom_keys={'b.': dict(lr_mult=0.0)}))
    run = small_run(tmp_path, GUARD, optim_wrapper=wrapper)
    build = run.build_optim_wrapper

    def then_frozen(config):  # before, they would have the rate of the others
        built = build(config)
        run.model.b.requires_grad_(False)
        return built

    run.build_optim_wrapper = then_frozen
    run.train()
    assert 0.0 in [group['lr'] for group in run.optim_wrapper.optimizer.param_groups]
    assert told(run) == []


def test_updates__that_change_something_in_another_process(tmp_path, monkeypatch):
    """All judge alike, so a shard that stays as it was is no symptom by itself."""
    monkeypatch.setattr(weight_changes, 'over_processes', lambda t, how: t * 0 + 1)
    assert told(train(tmp_path, GUARD, optim_wrapper=optim(lr=1e-12))) == []


@pytest.mark.parametrize('fused', [False, True])
def test_updates__overflows_of_a_loss_scale_are_none(tmp_path, fused):
    """A fused optimizer is called for them, too."""
    half = dict(type='beit_mm.AutocastOptimWrapper', dtype='float16', init_scale=2.0**30)
    half['optimizer'] = dict(type='AdamW', lr=0.01, fused=fused)
    run = train(tmp_path, dict(GUARD, interval=100), steps=40, optim_wrapper=half)
    (guard,) = (hook for hook in run.hooks if isinstance(hook, UpdateGuardHook))
    left_out = math.log2(2.0**30 / run.optim_wrapper.loss_scaler.get_scale())
    assert left_out > 3 and guard.changes._updates == 40 - left_out
