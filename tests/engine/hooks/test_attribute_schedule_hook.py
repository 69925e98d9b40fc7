import math
from types import SimpleNamespace

import pytest
import torch.nn as nn
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import HOOKS

from beit_mm.engine import AttributeScheduleHook


def hook(**schedules):
    return HOOKS.build(dict(type='beit_mm.AttributeScheduleHook', schedules=schedules))


def runner(model, iteration=0, max_iters=10_000):
    warnings = []
    logger = SimpleNamespace(warning=warnings.append, warnings=warnings)
    return SimpleNamespace(model=model, iter=iteration, max_iters=max_iters, logger=logger)


class Tokenizer(nn.Module):
    temperature = 1.0
    kl_weight = 0.0


@pytest.mark.parametrize(
    'schedule, values',
    [
        (
            dict(type='cosine', start=1.0, end=1 / 16, num_steps=100),
            {
                0: 1.0,
                25: 1 / 16 + 15 / 16 * (1 + math.sqrt(0.5)) / 2,
                50: 17 / 32,
                100: 1 / 16,
                999: 1 / 16,
            },
        ),
        (
            dict(type='linear', start=0.0, end=4.0, begin=10, num_steps=8),
            {0: 0.0, 10: 0.0, 11: 0.5, 14: 2.0, 18: 4.0, 40: 4.0},
        ),
        (
            dict(type='exponential', start=1.0, end=1 / 16, begin=5, num_steps=4),
            {0: 1.0, 5: 1.0, 6: 1 / 2, 7: 1 / 4, 8: 1 / 8, 9: 1 / 16, 10: 1 / 16},
        ),
        (dict(type='constant', start=0.3), {0: 0.3, 1: 0.3, 1000: 0.3}),
        (
            dict(type='step', start=2.0, gamma=0.5, step_size=3, begin=1, end=0.3),
            {0: 2.0, 3: 2.0, 4: 1.0, 6: 1.0, 7: 0.5, 10: 0.3, 99: 0.3},
        ),
        (  # upwards, `end` is the ceiling
            dict(type='step', start=1.0, gamma=2.0, step_size=1, end=5.0),
            {0: 1.0, 2: 4.0, 3: 5.0, 9: 5.0},
        ),
        (dict(type='step', start=1.0, gamma=0.1, step_size=2), {3: 0.1, 7: 1e-3}),
        (
            dict(type='poly', start=2.0, end=1.0, power=2, begin=3, num_steps=4),
            {0: 2.0, 3: 2.0, 4: 1 + 9 / 16, 5: 1.25, 7: 1.0, 50: 1.0},
        ),
        (  # a warm-up, a plateau, and a fall
            [
                dict(type='linear', start=0.0, end=1.0, num_steps=4, begin=2),
                dict(type='constant', start=0.5, begin=4),
                dict(type='cosine', start=0.5, end=0.1, num_steps=10, begin=10),
            ],
            {0: 0.0, 2: 0.0, 3: 0.25, 4: 0.5, 9: 0.5, 10: 0.5, 15: 0.3, 20: 0.1, 99: 0.1},
        ),
    ],
)
def test_value_of_each_shape(schedule, values):
    own = hook(number=schedule)
    for iteration, value in values.items():
        assert own.value('number', iteration) == pytest.approx(value, abs=1e-12), iteration


@pytest.mark.parametrize('begin', [0, 7])
def test_compound__is_the_plain_loop(begin):
    """train_vae.py of DALLE-pytorch, with a rate at which the floor is reached in 60 steps."""
    rate, interval, floor = 2e-3, 5, 0.5
    own = hook(
        temperature=dict(
            type='compound', start=1.0, end=floor, rate=rate, step_size=interval, begin=begin
        )
    )
    temperature, seen = 1.0, []
    for global_step in range(80):
        seen.append(temperature)  # of this step
        if global_step % interval == 0:
            temperature = max(temperature * math.exp(-rate * global_step), floor)
    values = [own.value('temperature', begin + n) for n in range(80)]
    assert values == pytest.approx(seen, rel=1e-12)
    assert seen[55] > floor == seen[69] and len(set(seen)) > 6
    assert own.value('temperature', 0) == 1.0


def test_compound__dalle_pytorch_reaches_its_floor_after_11800_steps():
    own = hook(temperature=dict(type='compound', start=1.0, end=0.5, rate=1e-6, step_size=100))
    reached = [n for n in range(0, 20_000, 100) if own.value('temperature', n) == 0.5]
    assert reached[0] == 11_900 and own.value('temperature', 11_800) == pytest.approx(
        0.5014, abs=1e-4
    )


def test_each_step_sets_its_own_value__also_after_a_resume():
    schedules = dict(
        temperature=dict(type='cosine', start=1.0, end=0.5, num_steps=10),
        kl_weight=dict(type='linear', start=0.0, end=1.0, begin=2, num_steps=4),
    )
    straight = {}
    model, own = Tokenizer(), hook(**schedules)
    own.before_train(runner(model))
    for iteration in range(12):
        own.before_train_iter(runner(model, iteration), 0)
        straight[iteration] = model.temperature, model.kl_weight
    assert straight[4] == pytest.approx((0.75 + 0.25 * math.cos(0.4 * math.pi), 0.5))
    resumed, fresh = Tokenizer(), hook(**schedules)
    fresh.before_train(runner(resumed, 7))
    for iteration in range(7, 12):
        fresh.before_train_iter(runner(resumed, iteration), 0)
        assert (resumed.temperature, resumed.kl_weight) == straight[iteration]


def test_the_model_inside_a_distributed_wrapper_is_set():
    inside = Tokenizer()
    wrapped = MMDistributedDataParallel.__new__(MMDistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = inside
    own = hook(temperature=dict(type='constant', start=0.25))
    own.before_train(runner(wrapped))
    own.before_train_iter(runner(wrapped), 0)
    assert inside.temperature == 0.25
    assert 'temperature' not in vars(wrapped)


def test_unknown_attribute__named_before_the_first_step():
    with pytest.raises(ValueError, match="'temprature'.*Tokenizer has no such attribute"):
        hook(temprature=dict(type='constant', start=1.0)).before_train(runner(Tokenizer()))


@pytest.mark.parametrize(
    'schedule, message',
    [
        (dict(type='sine', start=1), "type='sine'.*'cosine'"),
        (dict(type='poly', start=1, end=0, num_steps=5, power=0), 'power=0'),
        ([], 'begin=\\[\\]'),
        ([dict(type='constant', start=1), dict(type='constant', start=2)], r'begin=\[0, 0\]'),
        (
            [dict(type='constant', start=1), dict(type='step', start=1, begin=5)],
            r"\['gamma', 'step_size'\] missing",
        ),
        (dict(type='step', start=1, gamma=0.5), r"\['step_size'\] missing"),
        (dict(type='step', start=1, gamma=0.5, step_size=0), 'step_size=0'),
        (dict(type='compound', start=1, rate=1, step_size=1, num_steps=2), "unknown.*'num_steps'"),
        (dict(start=1), 'type=None'),
        (dict(type='linear', start=1, end=0), r"\['num_steps'\] missing"),
        (dict(type='constant', end=1), r"\['start'\] missing"),
        (dict(type='linear', start=1, end=0, num_steps=5, warmup=3), r"unknown \['warmup'\]"),
        (dict(type='linear', start=1, end=0, num_steps=0), 'num_steps=0'),
        (dict(type='exponential', start=0.0, end=1.0, num_steps=5), 'same sign'),
        (dict(type='exponential', start=-1.0, end=1.0, num_steps=5), 'same sign'),
    ],
)
def test_a_schedule_that_cannot_be_computed_names_itself(schedule, message):
    with pytest.raises(ValueError, match=rf"schedules\['temperature'\].*{message}"):
        AttributeScheduleHook(dict(temperature=schedule))


@pytest.mark.parametrize('name', ['kl_weight', 'usage_weight', 'entropy_weight'])
@pytest.mark.parametrize('start, end', [(0.0, -1e-3), (-1e-3, 0.0)])
@pytest.mark.parametrize('kind', ['linear', 'cosine'])
def test_a_negative_weight_is_refused_before_training(name, start, end, kind):
    message = rf"schedules\['{name}'\]: (start|end)=-0.001, expected 0 or more"
    with pytest.raises(ValueError, match=message):
        hook(**{name: dict(type=kind, start=start, end=end, num_steps=5)})


@pytest.mark.parametrize('key', ['start', 'end', 'num_steps', 'begin'])
@pytest.mark.parametrize('value', [math.nan, math.inf, None])
def test_numbers_that_are_none_are_refused(key, value):
    schedule = dict(dict(type='linear', start=1, end=0.5, num_steps=5), **{key: value})
    for name in ('kl_weight', 'temperature', 'beta'):
        with pytest.raises(ValueError, match=f'{key}={value}, expected a finite number'):
            hook(**{name: schedule})


@pytest.mark.parametrize(
    'schedule',
    [
        dict(type='cosine', start=1.0, end=0.0, num_steps=5),
        dict(type='compound', start=1.0, end=-0.1, rate=1.0, step_size=5),
        dict(type='constant', start=-1.0),
    ],
)
def test_a_temperature_that_is_not_positive_is_refused(schedule):
    with pytest.raises(ValueError, match='expected a positive number; a temperature'):
        hook(temperature=schedule)
    if 'end' in schedule:
        hook(margin=schedule)  # other numbers are free


def test_a_factor_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match='gamma=-0.5, expected a positive number'):
        hook(kl_weight=dict(type='step', start=1.0, gamma=-0.5, step_size=5))


def test_a_part_of_the_model_by_its_path():
    model = Tokenizer()
    model.recon_loss = nn.Module()
    model.recon_loss.weight = 0.0
    own = hook(**{'recon_loss.weight': dict(type='linear', start=0.0, end=1.0, num_steps=4)})
    own.before_train(runner(model))
    own.before_train_iter(runner(model, 3), 0)
    assert model.recon_loss.weight == 0.75 and not hasattr(model, 'recon_loss.weight')
    lost = hook(**{'rekon_loss.weight': dict(type='constant', start=0.0)})
    with pytest.raises(ValueError, match="'rekon_loss.weight'.*no such attribute"):
        lost.before_train(runner(model))


def test_a_schedule_longer_than_the_run__says_what_is_not_reached():
    cosine = dict(type='cosine', start=1.0, end=0.0, num_steps=90, begin=10)
    for max_iters, told in ((100, False), (55, True)):
        run = runner(Tokenizer(), max_iters=max_iters)
        hook(temperature=dict(cosine, end=0.5), kl_weight=cosine).before_train(run)
        assert len(run.logger.warnings) == 2 * told
    assert (
        "'kl_weight'] ends at iteration 100, but the training at 55, with 0.5 instead of 0"
        in (run.logger.warnings[1])
    )
