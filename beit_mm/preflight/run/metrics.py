"""The metrics that hooks ask for: whether an evaluation will have them."""

from collections.abc import Iterator
from difflib import get_close_matches

from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauParamScheduler

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import schedulers_of

# What the classes of MMPretrain and MMSegmentation return, where it depends on no data.
IOU = dict(
    mIoU=('aAcc', 'mIoU', 'mAcc'),
    mDice=('aAcc', 'mDice', 'mAcc'),
    mFscore=('aAcc', 'mFscore', 'mPrecision', 'mRecall'),
)


def check_metrics(runner) -> Iterator[Finding]:
    """Yield an error for each metric that ``save_best``, a hook or a schedule asks for in vain.

    It would fail at the first validation otherwise. Metrics of classes that are not known are
    judged by their prefix alone.
    """
    if runner.val_loop is None:
        for place, name in _monitored(runner):
            message = f'{name!r} is never measured, since nothing validates: it changes nothing'
            yield Finding.warning(place, message)
        return
    yield from _rules(runner)
    evaluator = vars(runner.val_loop).get('evaluator')
    if evaluator is None:  # of a loop of one's own
        return
    metrics = evaluator.metrics
    for place, name in _wanted(runner):
        if not any(_may_give(metric, name) for metric in metrics):
            known = [full for metric in metrics for full in _listed(metric)]
            close = get_close_matches(name, known, 1, 0.6)
            hint = f"; did you mean '{close[0]}'?" if close else ''
            yield Finding.error(
                place,
                f'{name!r} is no metric of val_evaluator, which gives {", ".join(known)}{hint}',
            )


def _rules(runner) -> Iterator[Finding]:
    """Yield rules of ``save_best`` that keep the worst of a metric whose name MMEngine knows."""
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or not hook.save_best:
            continue
        known = dict(greater=hook._default_greater_keys, less=hook._default_less_keys)
        for name, rule in zip(hook.key_indicators, hook.rules, strict=False):
            other = 'less' if rule == 'greater' else 'greater'
            if {other} == {key for key, parts in known.items() if _names(name, parts)}:
                message = f'{rule!r}, which keeps the worst {name}; set it to {other!r}'
                yield Finding.warning('default_hooks.checkpoint.rule', message)


def _names(metric: str | None, parts: list[str]) -> bool:
    name = (metric or '').lower()
    return not name.endswith(ERRORS) and any(part.lower() in name for part in parts)


def _wanted(runner) -> Iterator[tuple[str, str]]:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            names = hook.save_best if isinstance(hook.save_best, list) else [hook.save_best]
            for name in names:
                if name != 'auto':
                    yield 'default_hooks.checkpoint.save_best', name
        elif isinstance(hook, EarlyStoppingHook):
            yield 'custom_hooks: EarlyStoppingHook.monitor', hook.monitor
    yield from _monitored(runner)


def _monitored(runner) -> Iterator[tuple[str, str]]:
    """Yield places and metrics of the schedules that wait for one, such as ReduceOnPlateauLR."""
    for number, scheduler in enumerate(schedulers_of(runner)):
        if isinstance(scheduler, ReduceOnPlateauParamScheduler):
            if scheduler.begin < runner.max_epochs:
                yield f'param_scheduler.{number}.monitor', scheduler.monitor


def names_of(metric) -> tuple[str, ...] | None:
    """Return the names of a metric's values without its prefix; None if they are not known."""
    own, cls = vars(metric), type(metric).__name__
    if cls == 'Accuracy' and 'topk' in own:
        if own.get('thrs') in (None, (0.0,), [0.0]):
            return tuple(f'top{k}' for k in own['topk'])
        return None
    if cls == 'IoUMetric' and 'metrics' in own:
        return tuple(dict.fromkeys(n for m in own['metrics'] for n in IOU.get(m, ())))
    return METRICS.get(cls)


ERRORS = ('error', 'err', 'mse', 'mae')  # of which a name such as top1_error has more than one
METRICS = dict(
    TokenizerQuality=(
        *('codes_used', 'codes_used_percent', 'dead_codes', 'entropy', 'perplexity'),
        *('psnr', 'explained_variance', 'l1', 'ssim'),
    ),
    MaskedTokenAccuracy=(
        *('accuracy', 'loss', 'unigram_entropy', 'gain_over_unigram', 'majority'),
        *('target_codes', 'target_perplexity'),
    ),
)


def _may_give(metric, name: str) -> bool:
    if not isinstance(metric, BaseMetric):
        return True
    names, start = names_of(metric), _start_of(metric)
    return name.startswith(start) and (names is None or name.removeprefix(start) in names)


def _listed(metric) -> list[str]:
    return [f'{_start_of(metric)}{name}' for name in names_of(metric) or ['...']]


def _start_of(metric) -> str:
    return f'{metric.prefix}/' if isinstance(metric, BaseMetric) and metric.prefix else ''
