"""How many batches there are: of the data sets, of the training, of an update."""

import math
from collections.abc import Iterator, Sized

import torch
import torch.nn as nn
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage
from mmengine.optim.scheduler.param_scheduler import INF as ENDLESS
from mmengine.runner import EpochBasedTrainLoop
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import optim_wrappers, schedulers_of
from beit_mm.preflight.config.structure import explain_rare


def check_batches(loader: DataLoader, key: str, endless: bool = False) -> Iterator[Finding]:
    """Yield an error if a process gets no batch, and a warning if an evaluation leaves some out.

    Called on all processes.

    Args:
        endless: The sampler runs through the epochs without a break, so that every batch is full.
    """
    sizes = _sizes(loader)
    if sizes is None or endless:
        return
    batches, samples = sizes
    own = torch.tensor(batches)
    all_reduce(own, 'min')
    batch_size, drop = loader.batch_size, loader.drop_last
    if not own.item():
        processes = f' of {get_world_size()} processes' if get_world_size() > 1 else ''
        dropped = f' and {key}.drop_last=True' if drop else ''
        advice = f'set {key}.drop_last=False or a smaller batch_size' if drop else 'add samples'
        yield Finding.error(
            key,
            f'gives no batch at all: {samples} samples, batch_size={batch_size}{processes}'
            f'{dropped}; {advice}',
        )
    elif drop and not key.startswith('train') and batch_size and len(loader.sampler) % batch_size:
        left_out = len(loader.sampler) % batch_size * get_world_size()
        yield Finding.warning(
            f'{key}.drop_last',
            f'True, so that {left_out} of {samples} samples are never evaluated; set it to False',
        )


def check_last_batch(loader: DataLoader, model: nn.Module) -> Iterator[Finding]:
    """Yield a warning if an epoch ends with one sample, of which a batch norm may be given."""
    if _sizes(loader) is None or loader.drop_last or not loader.batch_size:
        return
    kinds = nn.SyncBatchNorm if get_world_size() > 1 else ()  # sees the samples of all processes
    norms = any(isinstance(m, _BatchNorm) and not isinstance(m, kinds) for m in model.modules())
    if norms and loader.batch_size > 1 and len(loader.sampler) % loader.batch_size == 1:
        yield Finding.warning(
            'train_dataloader.drop_last',
            f'False, so that the last of {len(loader)} batches has one sample: a batch norm, if it '
            'stands behind a pooling, has one value per channel and stops; set it to True',
        )


def check_length(runner) -> Iterator[Finding]:
    """Yield what is longer than the whole training: accumulation, schedule, average of weights."""
    length = runner.max_iters
    for number, scheduler in enumerate(schedulers_of(runner)):
        own = vars(scheduler)
        end = min(own['end'], own['begin'] + own.get('T_max', math.inf))
        # One of epochs is compared in the config, where both have the unit.
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and not own['by_epoch']:
            if length + 1 < end < ENDLESS:
                message = f'ends at step {end}, but the training has {length}; set them equal'
                yield Finding.warning(f'param_scheduler.{number}', message)
    for wrapper in optim_wrappers(runner):
        if wrapper._accumulative_counts > length > 0:
            message = explain_rare(wrapper._accumulative_counts, length)
            yield Finding.warning('optim_wrapper.accumulative_counts', message)
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            yield from _average(hook, runner.max_epochs, length)


def _average(hook: EMAHook, epochs: int, length: int) -> Iterator[Finding]:
    late = hook.begin_iter >= length or (hook.begin_epoch and hook.begin_epoch >= epochs)
    if late:
        begin = hook.begin_epoch or hook.begin_iter
        message = f'begins at {begin}, but the training ends before: it averages nothing'
        yield Finding.warning('custom_hooks: EMAHook', f'{message}; let it begin earlier')
        return
    given = hook.ema_cfg
    if given.get('type') not in ('ExponentialMovingAverage', ExponentialMovingAverage):
        return
    momentum, interval = given.get('momentum', 0.0002), given.get('interval', 1)
    if not isinstance(interval, int) or interval < 1:
        message = f'interval={interval!r}; expected a whole number of at least 1'
        yield Finding.error('custom_hooks: EMAHook', message)
        return
    steps = max(length - hook.begin_iter, 0) // interval
    kept = (1 - momentum) ** steps
    if kept > 0.5:
        yield Finding.warning(
            'custom_hooks: EMAHook',
            f'momentum={momentum} in {steps} steps: the average that is evaluated keeps '
            f'{100 * kept:.0f} % of the weights at the start; take momentum={3 / max(steps, 3):.2g}'
            ' or more',
        )


def _sizes(loader: DataLoader) -> tuple[int, int] | None:
    """Return batches of this process and samples; None where a data set or sampler has no end."""
    if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, Sized):
        return None
    try:
        return len(loader), len(loader.dataset)
    except TypeError:
        return None
