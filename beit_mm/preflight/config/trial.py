"""Small parts of a config, built alone: what they refuse, the training would stop at."""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.nn as nn
from mmengine import registry as root
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    DATALOADERS,
    entries,
    hook_configs,
    is_number,
    leaf_dataset_configs,
    steps_of,
)
from beit_mm.preflight.config.classes import KNOWN_PACKAGES, class_of, find_class, package_of
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.names import DEFAULT_PREPROCESSORS
from beit_mm.preflight.config.parts import preprocessor_key
from beit_mm.preflight.config.quiet import explain_error, quiet

# Arguments of a dataloader that MMEngine makes into something else first.
MADE_BY_MMENGINE = (
    *('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn'),
    *('num_batch_per_epoch', 'disable_subprocess_warning'),
)
WRITES_FILES = ('output_dir', 'out_dir')  # a metric with these makes folders
UNKNOWN_LENGTH = 10**9


def check_parts(config: Config, known: list[str]) -> Iterator[Finding]:
    """Yield an error for each transform, metric, optimizer, ... that cannot be built.

    Only classes of the OpenMMLab packages and of this one are built: their constructors are quick
    and leave nothing behind.

    Args:
        known: Keys at which errors were found already.
    """
    scope = config.get('default_scope') or 'mmengine'
    known = [*known]
    for key, own_scope, build in _parts(config, scope):
        parts = [key, 'optim_wrapper.optimizer'] if key.startswith('param_scheduler') else [key]
        if any(f'{place}.'.startswith(f'{part}.') for part in parts for place in known):
            continue
        if error := _fails(build, own_scope):
            known.append(key)
            yield Finding.error(key, explain_error(error, value_at(config, key)))


def _parts(config: Config, scope: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Yield key, scope and builder of what is tried."""
    for part in leaf_dataset_configs(config):
        for number, step in enumerate(steps_of(part.config)):
            if _is_known(root.TRANSFORMS, step, part.scope):
                yield f'{part.key}.pipeline.{number}', part.scope, _builder(root.TRANSFORMS, step)
    for name in DATALOADERS:
        if isinstance(config.get(name), Mapping):
            yield name, scope, lambda name=name: _loader(config[name])
    for name in ('val_evaluator', 'test_evaluator'):
        for key, metric in entries(config.get(name), name):
            if _is_known(root.METRICS, metric, scope) and not set(WRITES_FILES) & set(metric):
                yield key, scope, _builder(root.METRICS, metric)
    given = value_at(config, key := preprocessor_key(config))
    if isinstance(given, Mapping):
        given = {'type': DEFAULT_PREPROCESSORS.get(scope), **given}
        if _is_known(root.MODELS, given, scope):
            yield key, scope, _builder(root.MODELS, given)
    for key, hook in hook_configs(config):
        if _is_known(root.HOOKS, hook, scope, packages=('beit_mm', 'mmengine')):
            yield key, scope, _builder(root.HOOKS, hook)
    yield from _optimization(config, scope)


def _optimization(config: Config, scope: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    wrapper = config.get('optim_wrapper')
    optimizer = value_at(config, 'optim_wrapper.optimizer')
    if not _is_known(root.OPTIMIZERS, optimizer, scope, packages=(*KNOWN_PACKAGES, 'torch')):
        return
    kind, paramwise = wrapper.get('constructor'), wrapper.get('paramwise_cfg')
    constructor = dict(type=kind or 'DefaultOptimWrapperConstructor', paramwise_cfg=paramwise)
    is_known = _is_known(root.OPTIM_WRAPPER_CONSTRUCTORS, constructor, scope)
    # One of their own may choose parameters, or step in another way.
    yield 'optim_wrapper.optimizer', scope, lambda: (_update if is_known else _optimizer)(optimizer)
    if is_known:
        constructor['optim_wrapper_cfg'] = dict(optimizer=optimizer)
        registry = root.OPTIM_WRAPPER_CONSTRUCTORS
        yield 'optim_wrapper.paramwise_cfg', scope, _builder(registry, constructor)
    names = ('accumulative_counts', 'clip_grad')
    wraps = {name: wrapper[name] for name in names if name in wrapper}
    yield 'optim_wrapper', scope, lambda: _step(wraps)
    for key, scheduler in entries(config.get('param_scheduler'), 'param_scheduler'):
        if _is_known(root.PARAM_SCHEDULERS, scheduler, scope) and not _is_late(scheduler, config):
            yield key, scope, lambda one=scheduler: _scheduler(one, optimizer, config)


def _is_known(registry, part, scope: str, packages=KNOWN_PACKAGES) -> bool:
    return package_of(class_of(registry, part, scope)) in packages


def _builder(registry, part: Mapping) -> Callable[[], Any]:
    return lambda: registry.build(copy.deepcopy(dict(part)))


def _loader(given: Mapping) -> None:
    options = {key: given[key] for key in given if key not in MADE_BY_MMENGINE}
    if given.get('batch_sampler') is not None:
        for name in ('batch_size', 'drop_last'):
            options.pop(name, None)
    DataLoader([0] * 8, **options)


def _update(given: Mapping) -> None:
    """Update a matrix and a bias, as the first step does."""
    weights = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    # A CPU has no graph to capture the step in.
    _optimizer({name: given[name] for name in given if name != 'capturable'}, weights).step()


def _optimizer(given: Mapping, weights: list[nn.Parameter] | None = None):
    weights = weights or [nn.Parameter(torch.zeros(2, 2))]
    optimizer = root.OPTIMIZERS.build(dict(copy.deepcopy(dict(given)), params=weights))
    for group in optimizer.param_groups:
        for name in ('lr', 'weight_decay'):
            if group.get(name) is not None:
                group[name] * 1.0  # what a schedule does
    return optimizer


def _step(given: Mapping) -> None:
    """Clip a gradient, as the first update does."""
    weight = nn.Parameter(torch.zeros(2))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=0.1), **copy.deepcopy(dict(given)))
    weight.grad = torch.ones(2)
    if wrapper.clip_grad_kwargs:
        wrapper.clip_func([weight], **wrapper.clip_grad_kwargs)


def _scheduler(given: Mapping, optimizer: Mapping, config: Config) -> None:
    wrapper = OptimWrapper(_optimizer(optimizer))
    given = copy.deepcopy(dict(given))
    by_epoch, epochs = given.get('by_epoch', True), value_at(config, 'train_cfg.max_epochs')
    iters = value_at(config, 'train_cfg.max_iters')
    length = (epochs or 1) if by_epoch else iters
    given.setdefault('end', length if isinstance(length, int) else UNKNOWN_LENGTH)
    defaults = dict(optimizer=wrapper, epoch_length=UNKNOWN_LENGTH)
    root.PARAM_SCHEDULERS.build(given, default_args=defaults)


def _is_late(scheduler: Mapping, config: Config) -> bool:
    """Return whether a loop of this package leaves the schedule out, since it begins too late."""
    loop = find_class(root.LOOPS, value_at(config, 'train_cfg.type'), 'mmengine')
    if 'end' in scheduler or loop is None or package_of(loop) != 'beit_mm':
        return False
    unit = 'max_epochs' if scheduler.get('by_epoch', True) else 'max_iters'
    begin, length = scheduler.get('begin', 0), value_at(config, f'train_cfg.{unit}') or 1
    return is_number(begin) and is_number(length) and begin >= length


def _fails(build: Callable[[], Any], scope: str) -> Exception | None:
    """Return the error of ``build``, None without any; files that are missing may come later."""
    try:
        with quiet(), DefaultScope.overwrite_default_scope(scope):
            build()
    except OSError:
        return None
    except Exception as error:  # of any class that a config can name
        return error
    return None
