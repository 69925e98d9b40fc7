"""What a runner would do in vain is found before its first step."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import small_runs
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.optim import OptimWrapper
from mmengine.registry import LOOPS, METRICS, MODELS
from mmengine.runner import BaseLoop
from small_runs import PointClassifier, Points, small_run

from beit_mm.contracts import UserError
from beit_mm.preflight.run.class_order import describe_shift
from beit_mm.preflight.run.precision import check_precision
from beit_mm.preflight.run.weights import check_weights

CHECK = dict(type='beit_mm.DatasetCheckHook')


@METRICS.register_module(force=True)
class CountSamples(BaseMetric):
    default_prefix = 'seen'

    def __init__(self, name='count', **kwargs):
        super().__init__(**kwargs)
        self.name = name

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return {self.name: len(results)}


def run(tmp_path, train=40, val=None, loop='beit_mm.ResumableEpochLoop', **changes):
    """Train an epoch, or two steps."""
    unit = dict(max_epochs=1) if 'Epoch' in loop else dict(max_iters=2)
    options = dict(train_cfg=dict(type=loop, **unit), **changes)
    if val is not None:
        loader = dict(
            dataset=dict(type='Points'),
            batch_size=8,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        )
        loader.update({key: value for key, value in val.items() if key != 'size'})
        loader['dataset'] = dict(loader['dataset'], size=val.get('size', 16))
        evaluator = changes.get('val_evaluator') or [dict(type='CountSamples')]
        options |= dict(val_dataloader=loader, val_cfg=dict(), val_evaluator=evaluator)
    small_runs.PointClassifier.val_step = lambda self, data: [{}]
    runner = small_run(
        tmp_path / str(next(small_runs.numbers)), [CHECK], data=dict(size=train), **options
    )
    runner.train()
    return runner


def loader(**options):
    return dict(
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dict(type='Points', size=40),
        collate_fn=dict(type='default_collate'),
        **options,
    )


@pytest.mark.parametrize(
    'train, loop',
    [
        (loader(batch_size=64, drop_last=True), 'EpochBasedTrainLoop'),
        (loader(batch_size=41, drop_last=True), 'EpochBasedTrainLoop'),
        (loader(batch_size=64, drop_last=True), 'IterBasedTrainLoop'),
        (
            dict(loader(batch_size=64, drop_last=True), dataset=dict(
                type='RepeatDataset', times=1, dataset=dict(type='Points', size=40))),
            'EpochBasedTrainLoop',
        ),
        (
            dict(
                loader(batch_size=16, drop_last=True), dataset=dict(type='Points', indices=15)
            ),
            'EpochBasedTrainLoop',
        ),
    ],
)  # fmt: skip
def test_training__without_a_batch(tmp_path, train, loop):
    message = 'train_dataloader gives no batch at all: .*drop_last=False or a smaller batch_size'
    with pytest.raises(UserError, match=message):
        run(tmp_path, loop=loop, train_dataloader=train)


def test_training__with_a_sampler_that_goes_on_has_full_batches(tmp_path):
    for loop, sampler in (
        ('IterBasedTrainLoop', dict(type='InfiniteSampler', shuffle=True)),
        ('beit_mm.ResumableIterLoop', dict(type='beit_mm.ResumableSampler')),
    ):
        given = dict(loader(batch_size=64, drop_last=True), sampler=sampler)
        assert run(tmp_path, loop=loop, train_dataloader=given).iter == 2


def test_validation__without_a_batch_or_with_a_part_of_the_samples(tmp_path):
    with pytest.raises(UserError, match='val_dataloader gives no batch at all: 7 samples, batch'):
        run(tmp_path, val=dict(size=7, drop_last=True))
    run(tmp_path, val=dict(size=7))
    runner = run(tmp_path, val=dict(size=15, drop_last=True))
    assert '7 of 15 samples are never evaluated' in log_of(runner)


def log_of(runner) -> str:
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def hooks(**checkpoint):
    return dict(
        default_hooks=dict(
            checkpoint=dict(
                type='beit_mm.AtomicCheckpointHook', interval=1, by_epoch=True, **checkpoint
            )
        )
    )


@pytest.mark.parametrize('name', ['seen/count', 'auto', ['seen/count']])
def test_save_best__of_a_metric_that_exists(tmp_path, name):
    run(tmp_path, val={}, **hooks(save_best=name, rule='greater'))


@pytest.mark.parametrize('name', ['accuracy/top1', 'count', 'sen/count', ['seen/count', 'mIoU']])
def test_save_best__of_no_metric(tmp_path, name):
    with pytest.raises(UserError, match=r'is no metric of val_evaluator, which gives seen/\.\.\.'):
        run(tmp_path, val={}, **hooks(save_best=name, rule='greater'))


@pytest.mark.parametrize('rule, other', [('less', 'greater'), ('greater', 'less')])
def test_save_best__of_the_worst(tmp_path, rule, other):
    metric = 'seen/accuracy' if rule == 'less' else 'seen/loss'
    evaluator = [dict(type='CountSamples', name=metric.split('/')[1])]
    runner = run(tmp_path, val={}, val_evaluator=evaluator, **hooks(save_best=metric, rule=rule))
    assert f"keeps the worst {metric}; set it to '{other}'" in log_of(runner)
    runner = run(tmp_path, val={}, val_evaluator=evaluator, **hooks(save_best=metric, rule=other))
    assert 'keeps the worst' not in log_of(runner)


def test_schedule__by_steps_that_the_epochs_do_not_have(tmp_path):
    def told(**given):
        schedule = dict(type='LinearLR', by_epoch=False, **given)
        return log_of(run(tmp_path, param_scheduler=[schedule], loop='EpochBasedTrainLoop'))

    words = 'param_scheduler.0: ends at step 5000, but the training has 5'
    assert words in told(end=5000) and words not in told() and words not in told(end=5)


class OwnLoop(BaseLoop):
    """Validates on its own, with several loaders and no evaluator."""

    def __init__(self, runner, dataloader, evaluator):
        super().__init__(runner, dataloader)

    def run(self):
        self.runner.validated = True


def test_loops_and_labels__of_any_kind_train(tmp_path, monkeypatch):
    LOOPS.register_module('OwnLoop', module=OwnLoop, force=True)
    monkeypatch.setattr(Points, 'METAINFO', dict(classes={0: 'ant'}))
    monkeypatch.setattr(PointClassifier, 'num_classes', 4, raising=False)
    changes = dict(val_dataloader=[dict()] * 2, val_cfg=dict(type='OwnLoop'), val_evaluator=[])
    runner = small_run(tmp_path, [CHECK], train_cfg=dict(by_epoch=True, max_epochs=1), **changes)
    runner.train()
    assert runner.validated and 'this check failed' not in log_of(runner)


@pytest.mark.parametrize('fault', ['labels', 'length', 'batches'])
def test_check_that_fails__is_told_and_the_training_goes_on(tmp_path, monkeypatch, fault):
    def fails(*args, **kwargs):
        raise KeyError('odd')
        yield

    name = f'beit_mm.engine.hooks.dataset_check_hook.check_{fault}'
    monkeypatch.setattr(name, fails)
    runner = run(tmp_path)
    assert runner.iter == 5 and "left out (KeyError: 'odd')" in log_of(runner)


def test_learning_rates__of_no_parameter():
    def told(key, **given):
        paramwise = dict(custom_keys={key: given})
        config = Config(dict(optim_wrapper=dict(paramwise_cfg=paramwise)))
        stub = SimpleNamespace(
            model=torch.nn.ModuleDict(dict(head=torch.nn.Linear(2, 2))), cfg=config
        )
        return ' '.join(map(str, check_weights(stub)))

    words = 'custom_keys.model.head: no parameter has this in its name, head.weight for example'
    assert words in told('model.head', lr_mult=0.1)
    assert not told('model.head', lr_mult=1.0)
    assert not told('head', lr_mult=0.1) and not told('absolute_pos_embed', decay_mult=0.0)


def test_schedule__that_waits_for_a_metric(tmp_path):
    def scheduled(**given):
        return dict(param_scheduler=[dict(type='ReduceOnPlateauLR', **given)])

    words = r"param_scheduler.0.monitor 'loss' is no metric of val_evaluator, which gives seen/"
    with pytest.raises(UserError, match=words):
        run(tmp_path, val={}, **scheduled())
    run(tmp_path, val={}, **scheduled(monitor='seen/count'))
    run(tmp_path, val={}, **scheduled(begin=5))  # after the training
    words = "param_scheduler.0.monitor: 'loss' is never measured, since nothing validates"
    assert words in log_of(run(tmp_path, **scheduled()))


@pytest.mark.parametrize(
    'changes, message',
    [
        (
            dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=9)),
            'accumulative_counts: 9 batches an update, but the training has 5',
        ),
        (dict(custom_hooks=[CHECK, dict(type='EMAHook')]), 'keeps 100 % of the weights'),
        (dict(custom_hooks=[CHECK, dict(type='EMAHook', begin_iter=5)]), 'averages nothing'),
        (dict(custom_hooks=[CHECK, dict(type='EMAHook', begin_epoch=1)]), 'averages nothing'),
    ],
)
def test_lengths__that_the_training_does_not_reach(tmp_path, changes, message):
    assert message in log_of(run(tmp_path, **changes))
    assert message not in log_of(run(tmp_path))


@pytest.mark.parametrize('interval', [0, -1, '2'])
def test_average__of_no_interval(tmp_path, interval):
    with pytest.raises(UserError, match='EMAHook interval=.*; expected a whole number'):
        run(tmp_path, custom_hooks=[CHECK, dict(type='EMAHook', interval=interval)])


def test_average__with_a_momentum_for_a_short_run_is_no_finding(tmp_path):
    changes = dict(custom_hooks=[CHECK, dict(type='EMAHook', momentum=0.5)])
    assert 'EMAHook' not in log_of(run(tmp_path, **changes))


@pytest.mark.parametrize(
    'classes, message',
    [
        (('ant', 'cow', 'bee', 'dog'), "class 1 is 'cow', which should be 2"),
        (('ant', 'bee', 'dog'), "class 2 is 'dog', which should be 3 .*lacks 'cow'"),
        (('ant', 'bee', 'cow', 'emu'), "class 3 is 'emu', which should be 'dog'"),
    ],
)
def test_classes__of_validation_in_another_order(tmp_path, classes, message):
    given = dict(dataset=dict(type='Points', metainfo=dict(classes=classes)))
    with pytest.raises(UserError, match=message):
        run(tmp_path, val=given)
    run(tmp_path, val=dict(dataset=dict(type='Points')))


def test_classes__fewer_at_the_end_keep_their_numbers(tmp_path):
    run(tmp_path, val=dict(dataset=dict(type='Points', metainfo=dict(classes=('ant', 'bee')))))


def test_frozen_backbone__with_random_weights(tmp_path, monkeypatch):
    class Frozen(small_runs.PointClassifier):
        def __init__(self):
            super().__init__()
            self.backbone = torch.nn.Linear(2, 2).requires_grad_(False)

    MODELS.register_module(name='FrozenPoints', module=Frozen, force=True)
    told = log_of(run(tmp_path, model=dict(type='FrozenPoints')))
    assert 'model.backbone: is frozen with random weights' in told


SLOW = 'beit_mm.preflight.run.precision.describe_slowdown'


@pytest.mark.parametrize(
    'wrapper', [dict(type='beit_mm.AutocastOptimWrapper', dtype='bfloat16'), dict()]
)
def test_half_precision__where_the_cpu_is_slow_in_it(tmp_path, monkeypatch, wrapper):
    monkeypatch.setattr(SLOW, lambda dtype: f'{dtype} is slow here')
    options = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)) | wrapper
    told = log_of(run(tmp_path, optim_wrapper=options))
    assert ('optim_wrapper.dtype: torch.bfloat16 is slow here' in told) == bool(wrapper)


def test_half_precision__of_tokenizer_and_validation(monkeypatch):
    monkeypatch.setattr(SLOW, lambda dtype: f'{dtype} is slow here')
    model = torch.nn.Linear(2, 2)
    model.tokenizer_dtype = torch.float16
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    loop = SimpleNamespace(fp16=True)
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, val_loop=loop)
    found = [(f.level, f.place) for f in check_precision(runner)]
    assert found == [('warning', 'model.tokenizer_dtype'), ('warning', 'val_cfg.fp16')]


def test_class_order__two_classes_of_one_name():
    names = ['crane', 'maillot', 'dog', 'crane', 'maillot']
    assert describe_shift(names, names) is None
    assert 'class 2 is' in describe_shift(names, ['crane', 'maillot', 'crane', 'dog', 'maillot'])
