from mmengine.config import Config

from beit_mm.contracts import UserError


def shorten(config: Config, steps: int) -> None:
    """Change the length of a training to ``steps``, and what is scheduled in it in proportion.

    What depends on a step alone stays (``StepLR``, ``step``, ``compound``, an average's momentum).

    Raises:
        UserError: The training is not iteration-based.
    """
    if 'max_iters' not in config.train_cfg:
        raise UserError(
            f'{config.filename}: train_cfg.max_iters is missing; a comparison gives all the same '
            'number of steps, take a config with an iteration-based loop'
        )
    scale = steps / config.train_cfg.max_iters
    schedulers = config.get('param_scheduler') or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    for scheduler in schedulers:
        _scale(scheduler, scale, 'begin', 'end')
        _scale(scheduler, scale, 'T_max', 'total_steps', 'periods', 'milestones', least=1)
    ends = [steps if s.get('end') is None else s['end'] for s in schedulers]
    config.param_scheduler = [
        s for s, end in zip(schedulers, ends, strict=True) if end > s.get('begin', 0)
    ]
    hooks = [*(config.get('custom_hooks') or []), *config.default_hooks.values()]
    for hook in filter(None, hooks):
        kind = hook.get('type', '').split('.')[-1]
        if kind == 'CodebookGuardHook':
            _scale(hook, scale, 'grace')
        elif kind == 'EMAHook':
            _scale(hook, scale, 'begin_iter')
        elif kind == 'AttributeScheduleHook':  # where `end` is a value
            for parts in hook.schedules.values():
                _scale_parts(parts if isinstance(parts, list) else [parts], scale)
    config.train_cfg.update(max_iters=steps, val_interval=steps)
    config.default_hooks.checkpoint.update(interval=max(steps // 4, 1), max_keep_ckpts=1)


def _scale_parts(parts: list[dict], factor: float) -> None:
    earliest = 0
    for part in parts:
        _scale(part, factor, 'begin')
        _scale(part, factor, 'num_steps', least=1)
        if part.get('begin', 0) < earliest:
            part['begin'] = earliest
        earliest = part.get('begin', 0) + 1


def _scale(part: dict, factor: float, *keys: str, least: int = 0) -> None:
    for key in keys:
        if isinstance(steps := part.get(key), list | tuple):
            part[key] = [max(round(step * factor), least) for step in steps]
        elif steps is not None:
            part[key] = max(round(steps * factor), least)
