import math

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from beit_mm.registry import HOOKS

SHAPES = {  # progress in [0, 1] -> value
    'constant': lambda start, end, t: start,
    'linear': lambda start, end, t: start + (end - start) * t,
    'cosine': lambda start, end, t: end + (start - end) * (1 + math.cos(math.pi * t)) / 2,
    'exponential': lambda start, end, t: start * (end / start) ** t,
}


@HOOKS.register_module()
class TokenizerScheduleHook(Hook):
    """Sets numbers of the model, such as its temperature, before each training step.

    The value is a function of the iteration alone, so that a resumed run goes on where it was.

    Args:
        schedules: For each attribute of the model a dict with ``type`` (constant, linear, cosine
            or exponential), ``start``, and except for constant ``end`` and ``num_steps``;
            ``begin`` (0) is the first iteration of the change. Before it, ``start`` holds, and
            after begin + num_steps, ``end``.

    Raises:
        ValueError: A schedule that can't be computed, or an attribute that the model hasn't got.
    """

    def __init__(self, schedules: dict[str, dict]):
        self.schedules = {name: dict(schedule) for name, schedule in schedules.items()}
        for name, schedule in self.schedules.items():
            self._check(name, schedule)

    def before_train(self, runner) -> None:
        model = _unwrapped(runner.model)
        for name in self.schedules:
            if not hasattr(model, name):
                raise ValueError(
                    f'TokenizerScheduleHook.schedules has {name!r}, but '
                    f'{type(model).__name__} has no such attribute; correct the name or remove it'
                )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        model = _unwrapped(runner.model)
        for name in self.schedules:
            setattr(model, name, self.value(name, runner.iter))

    def value(self, name: str, iteration: int) -> float:
        """Of attribute ``name`` in training step ``iteration``, counted from 0."""
        schedule = self.schedules[name]
        start, steps = schedule['start'], schedule.get('num_steps', 1)
        progress = (iteration - schedule.get('begin', 0)) / steps
        shape = SHAPES[schedule['type']]
        return shape(start, schedule.get('end', start), min(max(progress, 0.0), 1.0))

    @staticmethod
    def _check(name: str, schedule: dict) -> None:
        where = f'TokenizerScheduleHook.schedules[{name!r}]'
        if schedule.get('type') not in SHAPES:
            raise ValueError(
                f'{where}: type={schedule.get("type")!r}, expected one of {list(SHAPES)}'
            )
        known = {'type', 'start', 'end', 'begin', 'num_steps'}
        needed = {'start'} if schedule['type'] == 'constant' else {'start', 'end', 'num_steps'}
        if unknown := set(schedule) - known:
            raise ValueError(f'{where}: unknown {sorted(unknown)}, expected {sorted(known)}')
        if missing := needed - set(schedule):
            raise ValueError(f'{where}: {sorted(missing)} missing')
        if schedule.get('num_steps', 1) <= 0:
            raise ValueError(f'{where}: num_steps={schedule["num_steps"]}, expected at least 1')
        if schedule['type'] == 'exponential' and schedule['start'] * schedule['end'] <= 0:
            raise ValueError(
                f'{where}: an exponential from start={schedule["start"]} to '
                f'end={schedule["end"]} needs two numbers of the same sign, none of them 0'
            )


def _unwrapped(model):
    return model.module if is_model_wrapper(model) else model
