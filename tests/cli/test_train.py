import argparse
import os
import signal
import sys
import weakref
from types import SimpleNamespace

import pytest
import small_runs  # noqa: F401  registers Points and PointClassifier
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS

from beit_mm.checkpoints.store import retire
from beit_mm.cli.train import count_accumulated, leave_early, merge_args
from beit_mm.contracts import UserError


def arguments(**given):
    nothing = dict(work_dir=None, resume=None, amp=False, auto_scale_lr=False, launcher='none')
    nothing |= dict(max_iters=None, max_epochs=None, test_out=[], log_to=[])
    return argparse.Namespace(config='configs/a/b.py', **{**nothing, **given})


@pytest.fixture
def config():
    return Config(
        dict(
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
            load_from='start.pth',
            resume=False,
        )
    )


def test_work_dir__named_after_the_config_unless_it_is_given(config):
    assert merge_args(config, arguments()).work_dir == os.path.join('work_dirs', 'b')
    config.work_dir = 'own'
    assert merge_args(config, arguments()).work_dir == 'own'
    assert merge_args(config, arguments(work_dir='other')).work_dir == 'other'


def test_resume__without_a_checkpoint_a_run_begins_as_its_config_says(config, tmp_path):
    begun = merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (begun.resume, begun.load_from) == (False, 'start.pth')
    (tmp_path / 'iter_2.pth').touch()
    again = merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (again.resume, again.load_from) == (True, None)
    retire(tmp_path, tmp_path)  # by a new run that was killed before it saved
    config.load_from = 'start.pth'
    anew = merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (anew.resume, anew.load_from) == (False, 'start.pth')
    (tmp_path / 'last_checkpoint').write_text('elsewhere/iter_2.pth')  # out_dir
    again = merge_args(config, arguments(work_dir=str(tmp_path), resume='auto'))
    assert (again.resume, again.load_from) == (True, None)


def test_resume__from_a_checkpoint(config, tmp_path):
    path = tmp_path / 'other.pth'
    with pytest.raises(UserError, match='--resume: there is no checkpoint'):
        merge_args(config, arguments(resume=str(path)))
    path.touch()
    merged = merge_args(config, arguments(resume=str(path)))
    assert (merged.resume, merged.load_from) == (True, str(path))


@pytest.mark.parametrize(
    'given',
    ['OptimWrapper', 'AmpOptimWrapper', 'AutocastOptimWrapper', 'beit_mm.AutocastOptimWrapper'],
)
def test_amp__takes_the_place_of_each_wrapper(config, given, monkeypatch):
    config.optim_wrapper.update(type=given, clip_grad=dict(max_norm=1.0))
    if given == 'AmpOptimWrapper':
        config.optim_wrapper.loss_scale = 'dynamic'
    for gpu, dtype in ((True, 'float16'), (False, 'bfloat16')):
        monkeypatch.setattr('torch.cuda.is_available', lambda gpu=gpu: gpu)
        config.optim_wrapper.pop('dtype', None)
        merged = merge_args(config, arguments(amp=True)).optim_wrapper
        assert merged == dict(
            type='beit_mm.AutocastOptimWrapper',
            optimizer=dict(type='SGD', lr=0.1),
            clip_grad=dict(max_norm=1.0),
            dtype=dtype,
        )
    # On a GPU the config has a say, on CPUs there is bfloat16 alone.
    for gpu, dtype in ((True, 'float16'), (True, 'bfloat16'), (False, 'float16')):
        monkeypatch.setattr('torch.cuda.is_available', lambda gpu=gpu: gpu)
        config.optim_wrapper.dtype = dtype
        merged = merge_args(config, arguments(amp=True)).optim_wrapper
        assert merged.dtype == (dtype if gpu else 'bfloat16')


def test_amp__takes_a_class_of_a_pure_python_config(config):
    config.optim_wrapper.type = OptimWrapper
    assert merge_args(config, arguments(amp=True)).optim_wrapper.type == (
        'beit_mm.AutocastOptimWrapper'
    )
    config.optim_wrapper = 5
    with pytest.raises(UserError, match='--amp: optim_wrapper is 5; expected a dict'):
        merge_args(config, arguments(amp=True))


def test_amp__does_not_replace_a_wrapper_that_it_does_not_know(config):
    config.optim_wrapper.type = 'GaLoreWrapper'
    with pytest.raises(UserError, match='--amp: optim_wrapper.type is GaLoreWrapper'):
        merge_args(config, arguments(amp=True))


def test_auto_scale_lr__counts_accumulated_batches(config):
    with pytest.raises(UserError, match='auto_scale_lr.base_batch_size'):
        merge_args(config, arguments(auto_scale_lr=True))
    config.auto_scale_lr = dict(base_batch_size=16)
    merged = merge_args(config, arguments(auto_scale_lr=True))
    assert merged.auto_scale_lr == dict(base_batch_size=16, enable=True)


@pytest.mark.parametrize('enable', [False, True])
def test_auto_scale_lr__of_the_config_counts_them_too(enable):
    """And leaves the config alone, which may be started from once more."""
    config = Config(dict(optim_wrapper=dict(accumulative_counts=4)))
    config.auto_scale_lr = dict(base_batch_size=16, enable=enable)
    runner = SimpleNamespace(cfg=config, auto_scale_lr=config.auto_scale_lr)
    count_accumulated(runner)
    assert runner.auto_scale_lr == dict(base_batch_size=4 if enable else 16, enable=enable)
    assert config.auto_scale_lr.base_batch_size == 16
    count_accumulated(SimpleNamespace(cfg=config, auto_scale_lr=None))


@pytest.mark.slow
@pytest.mark.parametrize('runner_type', ['Runner', 'FlexibleRunner'])
def test_auto_scale_lr__accumulated_batches_change_the_rate(tmp_path, runner_type):
    """By either runner of MMEngine: 8 x 4 accumulated are twice the base of 16."""
    config = Config(
        dict(
            runner_type=runner_type,
            work_dir=str(tmp_path),
            model=dict(type='PointClassifier'),
            train_dataloader=dict(
                batch_size=8,
                sampler=dict(type='DefaultSampler'),
                dataset=dict(type='Points'),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=dict(by_epoch=False, max_iters=4),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=4),
            auto_scale_lr=dict(base_batch_size=16, enable=True),
            visualizer=dict(type='Visualizer', vis_backends=[]),
            experiment_name=f'scaled{runner_type}',
            log_level='ERROR',
            launcher='none',
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
            randomness=dict(seed=0),
        )
    )
    runner = RUNNERS.build(config)
    count_accumulated(runner)
    runner.train()
    assert runner.optim_wrapper.get_lr()['lr'][0] == pytest.approx(0.2)


class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)


def in_a_weak_reference():
    held = set()
    kept = weakref.ref(held, lambda _: signal.raise_signal(signal.SIGTERM))
    del held
    return kept


@pytest.mark.parametrize(
    'stop', [Finalized.__del__, lambda _: Finalized(), lambda _: in_a_weak_reference()]
)
def test_stop_signal__where_python_drops_exceptions(stop, monkeypatch, capfd):
    left = []
    monkeypatch.setattr(os, '_exit', left.append)
    monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)  # restored
    before = signal.signal(signal.SIGTERM, leave_early)
    try:
        stop(None)
    except SystemExit as error:
        left.append(error.code)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert left == [75]
    assert capfd.readouterr().err.count('exiting with status 75') == 1
