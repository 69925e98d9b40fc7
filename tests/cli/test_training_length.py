import copy

import pytest
from mmengine.config import Config
from shipped_configs import LEAVES, loaded

from beit_mm.cli.training_length import set_length
from beit_mm.contracts import UserError
from beit_mm.preflight.config.schedule import check_schedule


def copied(leaf) -> Config:
    return copy.deepcopy(loaded(leaf))


def length_of(config: Config) -> tuple[str, int]:
    name = 'max_iters' if config.train_cfg.get('max_iters') else 'max_epochs'
    return name, config.train_cfg[name]


@pytest.mark.parametrize('leaf', LEAVES, ids=str)
def test_set_length__to_the_same_changes_nothing_but_the_log(leaf):
    config = copied(leaf)
    name, length = length_of(config)
    set_length(config, **{name: length})
    expected = copied(leaf)
    for part in (config, expected):
        part.default_hooks.logger.pop('interval', None)
    assert config.to_dict() == expected.to_dict()


@pytest.mark.parametrize('factor', [0.01, 0.5, 3])
@pytest.mark.parametrize('leaf', LEAVES, ids=str)
def test_set_length__all_schedules_end_with_the_training(leaf, factor):
    config, before = copied(leaf), loaded(leaf)
    name, length = length_of(config)
    wanted = max(round(length * factor), 1)
    set_length(config, **{name: wanted})
    assert length_of(config) == (name, wanted)
    assert len([*check_schedule(config)]) == len([*check_schedule(before)])
    for old, new in zip(before.param_scheduler[::-1], config.param_scheduler[::-1], strict=False):
        for key in ('begin', 'end'):
            if old.get(key) is not None and old.get('by_epoch', True) == (name == 'max_epochs'):
                share = min(old[key] / length, 1)  # one may end a step after the training
                assert abs(min(new[key] / wanted, 1) - share) <= 0.501 / wanted
    for hook, old in zip(
        config.get('custom_hooks', []), before.get('custom_hooks', []), strict=True
    ):
        for attribute, part in hook.get('schedules', {}).items():
            for key in ('begin', 'num_steps'):
                if part.get(key):
                    share = old.schedules[attribute][key] / length
                    assert abs(part[key] / wanted - share) <= max(0.5, 1 - share) / wanted
    interval, old = (c.train_cfg.get('val_interval') for c in (config, before))
    if interval and wanted >= length / old:
        assert abs(wanted / interval - length / old) <= 0.1 * length / old + 1


def test_set_length__parts_of_every_kind():
    config = Config(
        dict(
            train_cfg=dict(max_iters=1000, val_interval=100, val_begin=200),
            param_scheduler=[
                dict(type='LinearLR', by_epoch=False, end=4),
                dict(type='MultiStepLR', by_epoch=False, begin=4, milestones=[500, 900]),
                dict(type='StepLR', by_epoch=False, step_size=250),
                dict(type='CosineAnnealingLR', by_epoch=False, T_max=1000),
            ],
            default_hooks=dict(
                checkpoint=dict(interval=500), logger=dict(interval=50), param_scheduler=dict()
            ),
            custom_hooks=[
                dict(type='EMAHook', begin_iter=300),
                dict(type='UpdateGuardHook', interval=20),
                dict(
                    type='AttributeScheduleHook',
                    schedules={
                        'a': [
                            dict(type='linear', start=0, end=1, num_steps=100),
                            dict(type='cosine', start=1, end=0, begin=100, num_steps=900),
                        ],
                        'b': dict(type='compound', start=1.0, rate=1e-4, step_size=50),
                    },
                ),
            ],
        )
    )
    set_length(config, max_iters=100)
    assert config.train_cfg == dict(max_iters=100, val_interval=10, val_begin=20)
    multi, stairs, cosine = config.param_scheduler  # no step is left for the warm-up
    assert (multi.begin, multi.milestones) == (0, [50, 90])
    assert (stairs.step_size, cosine.T_max) == (25, 100)
    assert config.default_hooks.checkpoint.interval == 50
    assert config.default_hooks.logger.interval == 10
    ema, guard, attributes = config.custom_hooks
    assert (ema.begin_iter, guard.interval) == (30, 20)
    linear, wave = attributes.schedules['a']
    assert (linear.num_steps, wave.begin, wave.num_steps) == (10, 10, 90)
    compound = attributes.schedules['b']
    assert compound.step_size == 5 and compound.rate == pytest.approx(1e-3)


def test_set_length__compound_schedule_reaches_the_same_value():
    from beit_mm.engine.hooks.attribute_schedule_hook import compound

    part = dict(type='compound', start=1.0, rate=1e-6, step_size=100)
    hook = dict(type='AttributeScheduleHook', schedules=dict(t=dict(part)))
    config = Config(dict(train_cfg=dict(max_iters=2000), custom_hooks=[hook]))
    set_length(config, max_iters=400)
    new = dict(config.custom_hooks[0].schedules.t)
    for old in (part, new):
        old.pop('type')
    assert compound(400, **new) == pytest.approx(compound(2000, **part))


@pytest.mark.parametrize(
    ('loop', 'option', 'message'),
    [
        (dict(max_iters=10), 'max_epochs', r'counts iters \(max_iters=10\); say --max-iters'),
        (dict(max_epochs=10), 'max_iters', r'counts epochs \(max_epochs=10\); say --max-epochs'),
        (dict(), 'max_iters', 'neither max_iters nor max_epochs'),
    ],
)
def test_set_length__other_unit(loop, option, message):
    with pytest.raises(UserError, match=message):
        set_length(Config(dict(train_cfg=loop)), **{option: 3})
