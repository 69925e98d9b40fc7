"""The length of a training, and all that a config sets in proportion to it."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import entries, is_number

LENGTHS = ('max_iters', 'max_epochs')
OF_LOOP = ('val_interval', 'val_begin')
OF_SCHEDULER = ('begin', 'end', 'T_max', 'step_size', 'milestones')
OF_HOOK = ('interval', 'begin_iter', 'begin_epoch', 'save_begin')
OF_ATTRIBUTE = ('begin', 'num_steps', 'step_size')
INTERVALS = ('interval', 'val_interval', 'step_size', 'T_max', 'num_steps')  # at least 1
MOST_LINES = 10  # of the log in a short training, at least


def set_length(config: Config, **lengths: int | None) -> None:
    """Train for ``max_iters`` or ``max_epochs``, and scale what depends on the length.

    These are the schedules of the learning rate and of attributes of the model, validation,
    checkpoints, pictures and averages of the weights. A warm-up that would be shorter than a step
    is left out.

    Raises:
        UserError: The training counts in the other unit, or has no length.
    """
    wanted = {name: value for name, value in lengths.items() if value is not None}
    if not wanted:
        return
    loop = config.get('train_cfg') or {}
    given = next((name for name in LENGTHS if loop.get(name)), None)
    if given is None:
        raise UserError('train_cfg has neither max_iters nor max_epochs, so it cannot be scaled')
    if set(wanted) != {given}:
        option = given.replace('_', '-')
        raise UserError(f'This training counts {given[4:]} ({given}={loop[given]}); say --{option}')
    length = loop[given]
    factor = wanted[given] / length
    _scale(loop, OF_LOOP, factor)
    loop[given] = wanted[given]
    for scheduler in _schedulers(config):
        beyond = _steps_beyond(scheduler, given, length)
        _scale(scheduler, OF_SCHEDULER, factor)
        if beyond is not None:
            scheduler['end'] = wanted[given] + beyond
    if isinstance(config.get('param_scheduler'), list):
        config.param_scheduler = [s for s in config.param_scheduler if not _is_empty(s)]
    for hook in _hooks(config):
        _scale(hook, OF_HOOK, factor)
        for part in _attribute_schedules(hook):
            _scale(part, OF_ATTRIBUTE, factor)
            if part.get('type') == 'compound':  # its exponent grows with the square of the steps
                part['rate'] /= factor
    logger = (config.get('default_hooks') or {}).get('logger')
    if isinstance(logger, Mapping) and given == 'max_iters':
        shown = max(wanted[given] // MOST_LINES, 1)
        logger['interval'] = min(logger.get('interval', 10), shown)


def _scale(part: dict, names: tuple[str, ...], factor: float) -> None:
    """Scale those values of ``part`` that are numbers of steps, or lists of them."""
    for name in names:
        value = part.get(name)
        least = 1 if name in INTERVALS else 0
        if is_number(value) and value > 0:
            part[name] = max(round(value * factor), least)
        elif isinstance(value, list | tuple) and all(map(is_number, value)):
            part[name] = [max(round(v * factor), least) for v in value]


def _steps_beyond(scheduler: Mapping, unit: str, length: int) -> int | None:
    """Return how much later than the training a schedule ends, which does not grow with it."""
    end = scheduler.get('end')
    if scheduler.get('by_epoch', True) != (unit == 'max_epochs') or not is_number(end):
        return None
    return end - length if end >= length else None


def _is_empty(scheduler: Mapping) -> bool:
    end = scheduler.get('end')
    return is_number(end) and end <= scheduler.get('begin', 0)


def _schedulers(config: Config) -> list[dict]:
    found = entries(config.get('param_scheduler'), 'param_scheduler')
    return [scheduler for _, scheduler in found if isinstance(scheduler, dict)]


def _hooks(config: Config) -> Iterator[dict]:
    """Yield the hooks whose steps are those of the training; guards have windows of their own."""
    checkpoint = (config.get('default_hooks') or {}).get('checkpoint')
    if isinstance(checkpoint, dict):
        yield checkpoint
    for hook in config.get('custom_hooks') or []:
        if isinstance(hook, dict) and not str(hook.get('type')).endswith('GuardHook'):
            yield hook


def _attribute_schedules(hook: Mapping) -> Iterator[dict]:
    for name, parts in (hook.get('schedules') or {}).items():
        yield from (part for _, part in entries(parts, name) if isinstance(part, dict))
