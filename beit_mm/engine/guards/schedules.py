from mmengine.optim.scheduler import (
    CosineAnnealingParamScheduler,
    ExponentialParamScheduler,
    LinearParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)

from beit_mm.contracts.runner_access import schedulers_of


def lr_schedulers(runner) -> list:
    """Return all schedulers of learning rates, of an OptimWrapperDict too."""
    return [one for one in schedulers_of(runner) if getattr(one, 'param_name', None) == 'lr']


def is_moving(scheduler) -> bool:
    """Return whether each step from ``begin`` to ``end`` gives another value."""
    if isinstance(scheduler, LinearParamScheduler):
        return scheduler.start_factor != scheduler.end_factor
    if isinstance(scheduler, ExponentialParamScheduler):
        return scheduler.gamma != 1
    if isinstance(scheduler, PolyParamScheduler) and not scheduler.power:
        return False
    if isinstance(scheduler, CosineAnnealingParamScheduler | PolyParamScheduler):
        if getattr(scheduler, 'eta_min_ratio', None) is not None:
            return scheduler.eta_min_ratio != 1
        return any(value != scheduler.eta_min for value in scheduler.base_values)
    return isinstance(scheduler, OneCycleParamScheduler)


def warm_up_end(runner) -> int:
    """Return the iteration at which the warm-up of the learning rate ends."""
    ends = [0]
    for scheduler in lr_schedulers(runner):
        unit = len(runner.train_dataloader) if scheduler.by_epoch else 1
        if isinstance(scheduler, LinearParamScheduler):
            if scheduler.begin == 0 and scheduler.start_factor < scheduler.end_factor:
                ends.append(scheduler.end * unit)
        elif isinstance(scheduler, OneCycleParamScheduler):
            ends.append(round(scheduler._schedule_phases[0]['end_step']) * unit)
    return min(max(ends), runner.max_iters)
