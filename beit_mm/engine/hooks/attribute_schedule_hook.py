import math
from inspect import signature

from mmengine.hooks import Hook

from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.registry import HOOKS


def constant(
    steps: int, start: float, end: float | None = None, num_steps: float | None = None
) -> float:
    """Return ``start``; a constant may keep the keys it had before it became one."""
    return start


def linear(steps: int, start: float, end: float, num_steps: float) -> float:
    return start + (end - start) * _progress(steps, num_steps)


def cosine(steps: int, start: float, end: float, num_steps: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * _progress(steps, num_steps))) / 2


def exponential(steps: int, start: float, end: float, num_steps: float) -> float:
    return start * (end / start) ** _progress(steps, num_steps)


def poly(steps: int, start: float, end: float, num_steps: float, power: float) -> float:
    return end + (start - end) * (1 - _progress(steps, num_steps)) ** power


def step(
    steps: int, start: float, gamma: float, step_size: float, end: float | None = None
) -> float:
    """Return a value of MMEngine's StepLR."""
    return _stop(start * gamma ** (steps // step_size), start, end)


def compound(
    steps: int, start: float, rate: float, step_size: float, end: float | None = None
) -> float:
    """Return ``start``, multiplied by exp(-rate n) after each step n = 0, step_size, 2 step_size.

    k of these factors have the exponent -rate step_size k (k - 1) / 2. That is the schedule of
    train_vae.py of github.com/lucidrains/DALLE-pytorch.
    """
    factors = -(-steps // step_size)
    value = start * math.exp(-rate * step_size * factors * (factors - 1) / 2)
    return _stop(value, start, end)


def _progress(steps: int, num_steps: float) -> float:
    return min(steps / num_steps, 1.0)


def _stop(value: float, start: float, end: float | None) -> float:
    """Return a value that does not pass ``end``."""
    if end is None:
        return value
    return max(value, end) if end < start else min(value, end)


# Their arguments, without the steps since ``begin``, are the keys of a schedule.
SCHEDULES = {
    function.__name__: function
    for function in (constant, linear, cosine, exponential, poly, step, compound)
}


@HOOKS.register_module()
class AttributeScheduleHook(Hook):
    """Set numbers of the model, such as its temperature, before each training step.

    The value is a function of the iteration alone, so that a resumed run goes on where it was.

    Args:
        schedules: For each attribute of the model, or of a part of it (``recon_loss.weight``), a
            dict with ``type``, ``start``, and by type

            - constant: nothing else;
            - linear, cosine, exponential: ``end`` and ``num_steps``;
            - poly: ``end``, ``num_steps`` and ``power``;
            - step: ``gamma`` and ``step_size``, start * gamma^floor(n / step_size) in step n;
            - compound: ``rate`` and ``step_size``, after each step n = 0, step_size,
              2 step_size, ... multiplied by exp(-rate n).

            ``begin`` (0) is the first iteration of the change. Before it, ``start`` holds, and
            after begin + num_steps, ``end``. With step and compound ``end`` is optional: the value
            that is never passed.

            A list of them is a sequence, each from its ``begin`` on: a warm-up and a cosine.

    Raises:
        UserError: A schedule cannot be computed, leads to a negative weight (of a name ending in
            ``weight``) or to a temperature that is not positive, or the model has no such
            attribute.
    """

    def __init__(self, schedules: dict[str, dict | list[dict]]):
        self.schedules: dict[str, list[dict]] = {}
        for name, parts in schedules.items():
            parts = [dict(part) for part in (parts if isinstance(parts, list) else [parts])]
            for part in parts:
                self._check(name, part)
            begins = [part.get('begin', 0) for part in parts]
            if not parts or begins != sorted(set(begins)):
                raise UserError(
                    f'AttributeScheduleHook.schedules[{name!r}]: a sequence with begin={begins}, '
                    'expected one schedule or more, each beginning later than the one before'
                )
            self.schedules[name] = parts

    def before_train(self, runner) -> None:
        for name, parts in self.schedules.items():
            _owner(model_of(runner), name)
            last = parts[-1]
            end = last.get('begin', 0) + last.get('num_steps', 0)
            if end > runner.max_iters:
                reached = self.value(name, runner.max_iters)
                runner.logger.warning(
                    f'AttributeScheduleHook.schedules[{name!r}] ends at iteration {end}, but the '
                    f'training at {runner.max_iters}, with {reached:.4g} instead of '
                    f'{last.get("end", last["start"]):.4g}; set num_steps (and begin) '
                    'in proportion to train_cfg'
                )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        for name in self.schedules:
            owner, attribute = _owner(model_of(runner), name)
            setattr(owner, attribute, self.value(name, runner.iter))

    def value(self, name: str, iteration: int) -> float:
        """Return the value of attribute ``name`` in training step ``iteration``, from 0."""
        parts = self.schedules[name]
        begun = [part for part in parts if part.get('begin', 0) <= iteration]
        schedule = dict((begun or parts[:1])[-1])
        steps = max(iteration - schedule.pop('begin', 0), 0)
        return SCHEDULES[schedule.pop('type')](steps, **schedule)

    @staticmethod
    def _check(name: str, schedule: dict) -> None:
        where = f'AttributeScheduleHook.schedules[{name!r}]'
        kind = schedule.get('type')
        if kind not in SCHEDULES:
            raise UserError(f'{where}: type={kind!r}, expected one of {list(SCHEDULES)}')
        keys = [*signature(SCHEDULES[kind]).parameters.values()][1:]
        known = {'type', 'begin', *(key.name for key in keys)}
        if unknown := set(schedule) - known:
            raise UserError(
                f'{where}: unknown {sorted(unknown)}, expected {sorted(known)} for type={kind!r}'
            )
        if missing := {key.name for key in keys if key.default is key.empty} - set(schedule):
            raise UserError(f'{where}: {sorted(missing)} missing')
        for key, value in schedule.items():
            number = isinstance(value, (int, float)) and math.isfinite(value)
            if key != 'type' and not number:
                raise UserError(f'{where}: {key}={value!r}, expected a finite number')
            if key in ('gamma', 'num_steps', 'step_size', 'power') and value <= 0:
                raise UserError(f'{where}: {key}={value}, expected a positive number')
        if kind == 'exponential' and schedule['start'] * schedule['end'] <= 0:
            raise UserError(
                f'{where}: an exponential from start={schedule["start"]} to '
                f'end={schedule["end"]} needs two numbers of the same sign, none of them 0'
            )
        for key in ('start', 'end'):
            if name.endswith('weight') and schedule.get(key, 0) < 0:
                raise UserError(
                    f'{where}: {key}={schedule[key]}, expected 0 or more; a negative weight '
                    'rewards what its term is there to prevent'
                )
            if name.endswith('temperature') and schedule.get(key, 1) <= 0:
                raise UserError(
                    f'{where}: {key}={schedule[key]}, expected a positive number; a temperature is '
                    'divided by'
                )


def _owner(model, name: str):
    """Return the module that has an attribute such as ``recon_loss.weight``, and its name there."""
    *path, attribute = name.split('.')
    try:
        owner = model.get_submodule('.'.join(path))
    except AttributeError:
        owner = None
    if not hasattr(owner, attribute):
        raise UserError(
            f'AttributeScheduleHook.schedules has {name!r}, but {type(model).__name__} has no such '
            'attribute; correct the name or remove it'
        )
    return owner, attribute
