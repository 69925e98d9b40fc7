"""What a run says of itself before its first step, a line for each thing."""

from collections.abc import Iterator, Sized

import torch
import torch.nn as nn
from mmengine.dist import get_world_size
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import Dataset

from beit_mm.contracts.runner_access import model_of, optim_wrappers


def summary_of(runner: Runner) -> Iterator[str]:
    """Yield lines about model, data, batch, learning rate and where the files are."""
    yield _model(model_of(runner))
    yield _data(runner)
    if isinstance(runner._train_loop, BaseLoop):
        yield _batch(runner)
        yield _learning_rate(runner)
    yield f'Files: {runner.work_dir}, log {runner.timestamp}/{runner.timestamp}.log'


def describe_loaded(loaded: dict[str, list[str]]) -> Iterator[str]:
    """Yield a line for each checkpoint, with what fits of it."""
    for path, modules in loaded.items():
        yield f'Loaded: {", ".join([*([path] if path else []), *dict.fromkeys(modules)])}'


def _model(model: nn.Module) -> str:
    parts = ', '.join(
        f'{name} {type(part).__name__}'
        for name, part in model.named_children()
        if name in ('tokenizer', 'backbone', 'neck', 'head', 'decode_head', 'quantizer')
    )
    sizes = {True: 0, False: 0}
    for parameter in model.parameters():
        sizes[parameter.requires_grad] += parameter.numel()
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    threads = f', threads: {torch.get_num_threads()}' if device.type == 'cpu' else ''
    return (
        f'Model: {type(model).__name__}' + (f' ({parts})' if parts else '') + f', {sizes[True]:,} '
        f'trainable and {sizes[False]:,} frozen parameters; device {device}{threads}'
    )


def _data(runner: Runner) -> str:
    found = []
    for name in ('train', 'val', 'test'):
        loop = vars(runner)[f'_{name}_loop']
        if isinstance(loop, BaseLoop):
            dataset = loop.dataloader.dataset
            size = _size(dataset)
            count = 'an unknown number of' if size is None else f'{size:,}'
            while isinstance(vars(dataset).get('dataset'), Dataset):  # what it wraps
                dataset = vars(dataset)['dataset']
            found.append(f'{count} samples to {name} on ({type(dataset).__name__})')
    return f'Data: {", ".join(found)}'


def _batch(runner: Runner) -> str:
    loop = runner.train_loop
    loader = loop.dataloader
    size = loader.batch_size or vars(loader.batch_sampler).get('batch_size') or 1
    processes = get_world_size()
    accumulated = max(vars(one).get('_accumulative_counts', 1) for one in optim_wrappers(runner))
    total = size * processes * accumulated
    text = f'Batch: {size} per process'
    if processes > 1:
        text += f' x {processes} processes'
    if accumulated > 1:
        text += f' x {accumulated} accumulated'
    if total != size:
        text += f' = {total}'
    epochs = loop.max_iters * size * processes / max(_size(loader.dataset) or 1, 1)
    return f'{text}; {loop.max_iters:,} steps, {epochs:.3g} passes over the data'


def _learning_rate(runner: Runner) -> str:
    found = []
    for wrapper in optim_wrappers(runner):
        groups = wrapper.optimizer.param_groups
        rates = sorted({group.get('initial_lr', group['lr']) for group in groups})
        least = f'{rates[0]:.3g} to ' if len(rates) > 1 else ''
        decay = max(group.get('weight_decay') or 0 for group in groups)
        kind = type(wrapper.optimizer).__name__
        found.append(f'{least}{rates[-1]:.3g} ({kind}, weight decay {decay:g})')
    schedulers = runner.param_schedulers
    names = [type(one).__name__ for one in schedulers] if isinstance(schedulers, list) else []
    return f'Learning rate: {", ".join([*found, *names])}'


def _size(dataset: Dataset) -> int | None:
    return len(dataset) if isinstance(dataset, Sized) else None
