"""The learning rate schedule and the checkpoints, beside the length of the training."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import is_number
from beit_mm.preflight.config.keys import value_at


def check_schedule(config: Config) -> Iterator[Finding]:
    """Yield schedules that do not end with the training, and intervals in a unit that it lacks."""
    train = config.get('train_cfg') or {}
    if not isinstance(train, Mapping):
        return
    unit = 'max_iters' if train.get('max_iters') else 'max_epochs'
    given = config.get('param_scheduler')
    given = given if isinstance(given, list | tuple) else [given]
    schedulers = [scheduler for scheduler in given if isinstance(scheduler, Mapping)]
    for number, scheduler in enumerate(schedulers):
        yield from _units(scheduler, f'param_scheduler.{number}', unit)
    if is_number(train.get(unit)):
        yield from _ends(schedulers, unit, train[unit])
    yield from _checkpoints(config, unit, train.get(unit))


def _units(scheduler: Mapping, key: str, unit: str) -> Iterator[Finding]:
    by_epoch, begin = scheduler.get('by_epoch', True), scheduler.get('begin', 0)
    if is_number(begin) and is_number(scheduler.get('end')) and scheduler['end'] <= begin:
        yield Finding.error(
            f'{key}.end',
            f'{scheduler["end"]}, but it begins at {begin}; set begin of it, and end of the '
            f'one before, below {scheduler["end"]}',
        )
    if by_epoch and unit == 'max_iters' and not scheduler.get('convert_to_iter_based'):
        yield Finding.warning(
            f'{key}.by_epoch',
            'True, but a loop of iterations has no epochs that the schedule could count: it '
            'stays at its beginning; set by_epoch=False, and begin and end in iterations',
        )


def _ends(schedulers: list[Mapping], unit: str, length: float) -> Iterator[Finding]:
    """Find schedules that go on or begin after the training, or are all over before it."""
    begins, ends = {}, {}
    for number, scheduler in enumerate(schedulers):
        if scheduler.get('by_epoch', True) != (unit == 'max_epochs'):
            continue
        begin = scheduler.get('begin', 0)
        if not is_number(begin):
            continue
        name, end = _find_end(scheduler, begin)
        key = f'param_scheduler.{number}'
        if is_number(end):
            begins[f'{key}.{name}'], ends[f'{key}.{name}'] = begin, end
        elif end is None and begin >= length:
            yield Finding.warning(
                f'{key}.begin',
                f'{begin}, but train_cfg.{unit}={length}: the schedule begins after the training; '
                'set begin of it, and end of the one before, in proportion',
            )
    for key, end in ends.items():
        if end > length + 1:  # some schedules reach their end one step after the last
            late = f', and begin of it below {length}' if begins[key] >= length else ''
            yield Finding.warning(
                key,
                f'{end}, but train_cfg.{unit}={length}: training stops before the schedule does; '
                f'set them equal{late}',
            )
    key = max(ends, key=ends.get, default='')
    is_over = key and ends[key] < length and len(ends) == len(schedulers)
    if is_over and not key.endswith('milestones'):  # of which the last is before the end
        then = 'rises again' if key.endswith('T_max') else 'stands still'
        yield Finding.warning(
            key,
            f'{ends[key]}, but train_cfg.{unit}={length}: the learning rate {then} after it; set '
            'them equal',
        )


def _find_end(scheduler: Mapping, begin: float) -> tuple[str, float | None]:
    """Return the argument that says when a schedule is over, and when; None for never."""
    end, period = scheduler.get('end'), scheduler.get('T_max')
    if is_number(period) and (not is_number(end) or begin + period < end):
        return 'T_max', begin + period
    milestones = scheduler.get('milestones')
    if isinstance(milestones, list | tuple) and milestones and all(map(is_number, milestones)):
        return 'milestones', max(milestones)
    return 'end', end


def _checkpoints(config: Config, unit: str, length) -> Iterator[Finding]:
    hook = value_at(config, 'default_hooks.checkpoint')
    if not isinstance(hook, Mapping):
        return
    by_epoch, interval = hook.get('by_epoch', True), hook.get('interval', -1)
    is_late = is_number(interval) and is_number(length) and not 0 < interval <= length
    saves = hook.get('save_last', True) or hook.get('save_best')
    if by_epoch == (unit == 'max_epochs') and is_late and not saves:
        message = f'False with interval={interval} and train_cfg.{unit}={length}: no checkpoint '
        message += 'is written at all; set it to True, or a shorter interval'
        yield Finding.warning('default_hooks.checkpoint.save_last', message)
    if unit == 'max_iters' and by_epoch:
        yield Finding.warning(
            'default_hooks.checkpoint.by_epoch',
            'True, but a loop of iterations has no epochs: nothing is saved before its end; set '
            'by_epoch=False, and interval in iterations',
        )
