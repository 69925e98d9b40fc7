import math

from mmengine.hooks import Hook

from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import model_of
from beit_mm.registry import HOOKS

SHAPES = {  # progress in [0, 1] -> value
    'constant': lambda start, end, t: start,
    'linear': lambda start, end, t: start + (end - start) * t,
    'cosine': lambda start, end, t: end + (start - end) * (1 + math.cos(math.pi * t)) / 2,
    'exponential': lambda start, end, t: start * (end / start) ** t,
    'poly': lambda start, end, t, power: end + (start - end) * (1 - t) ** power,
}


def step(steps: int, start: float, gamma: float, step_size: int) -> float:
    """Return a value of MMEngine's StepLR."""
    return start * gamma ** (steps // step_size)


def compound(steps: int, start: float, rate: float, step_size: int) -> float:
    """Return ``start``, multiplied by exp(-rate n) after each step n = 0, step_size, 2 step_size.

    k of these factors have the exponent -rate step_size k (k - 1) / 2. That is the schedule of
    train_vae.py of github.com/lucidrains/DALLE-pytorch.
    """
    factors = -(-steps // step_size)
    return start * math.exp(-rate * step_size * factors * (factors - 1) / 2)


LAWS = {'step': step, 'compound': compound}
NEEDED = {
    'constant': {'start'},
    **dict.fromkeys(('linear', 'cosine', 'exponential'), {'start', 'end', 'num_steps'}),
    'poly': {'start', 'end', 'num_steps', 'power'},
    'step': {'start', 'gamma', 'step_size'},
    'compound': {'start', 'rate', 'step_size'},
}
OPTIONAL = {  # beside begin; a constant may keep the keys it had before it became one
    'constant': {'end', 'num_steps'},
    'step': {'end'},
    'compound': {'end'},
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
        kind, start = schedule.pop('type'), schedule['start']
        steps = max(iteration - schedule.pop('begin', 0), 0)
        if kind in LAWS:
            end = schedule.pop('end', None)
            value = LAWS[kind](steps, **schedule)
            if end is None:
                return value
            return max(value, end) if end < start else min(value, end)
        progress = min(steps / schedule.get('num_steps', 1), 1.0)
        power = [schedule['power']] if kind == 'poly' else []
        return SHAPES[kind](start, schedule.get('end', start), progress, *power)

    @staticmethod
    def _check(name: str, schedule: dict) -> None:
        where = f'AttributeScheduleHook.schedules[{name!r}]'
        kind = schedule.get('type')
        if kind not in NEEDED:
            raise UserError(f'{where}: type={kind!r}, expected one of {list(NEEDED)}')
        known = {'type', 'begin'} | NEEDED[kind] | OPTIONAL.get(kind, set())
        if unknown := set(schedule) - known:
            raise UserError(
                f'{where}: unknown {sorted(unknown)}, expected {sorted(known)} for type={kind!r}'
            )
        if missing := NEEDED[kind] - set(schedule):
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
