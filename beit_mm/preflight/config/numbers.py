"""Numbers of a config that have to agree with each other."""

import logging
from collections.abc import Iterator, Mapping
from multiprocessing import get_all_start_methods
from numbers import Integral

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    DATALOADERS,
    class_name,
    entries,
    find_transform,
    walk_pipelines,
)
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.parts import backbone_in, tokenizer_in

TEXT_IS_WRONG = (
    *('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'),
    *('optim_wrapper.accumulative_counts', 'log_processor.window_size'),
)
# Whole numbers: the least and the most that PyTorch and NumPy take; None is their default.
WHOLE = {
    'randomness.seed': (0, 2**32 - 1),
    **{f'{name}.num_workers': (0, None) for name in DATALOADERS},
    **{f'{name}.batch_size': (1, None) for name in DATALOADERS},
}
COLLATES = ('pseudo_collate', 'default_collate')  # both need a list of samples


def check_numbers(config: Config, world_size: int) -> Iterator[Finding]:
    """Yield numbers that are text, and batch sizes, grids and vocabularies that disagree."""
    yield from _types(config)
    yield from _total_batch(config, world_size)
    yield from _two_views(config)
    yield from _vocabulary(config)


def _types(config: Config) -> Iterator[Finding]:
    for key in TEXT_IS_WRONG:
        if isinstance(value := value_at(config, key), str):
            yield Finding.error(key, f'{value!r} is text; write the number without quotes')
    for key, (least, most) in WHOLE.items():
        value, part = value_at(config, key), config.get(key.partition('.')[0])
        if key.endswith('size') and isinstance(part, Mapping):
            collate = class_name(part.get('collate_fn') or {}) or COLLATES[0]
            if part.get('batch_sampler') or (value is None and collate not in COLLATES):
                continue
            value = part.get('batch_size', 1)
        elif value is None:
            continue
        if not isinstance(value, Integral) or value < least or (most and value > most):
            text = ' is text' if isinstance(value, str) else ''
            end = f'from {least} to {most}' if most else f'of at least {least}'
            yield Finding.error(key, f'{value!r}{text}; expected a whole number {end}')
    level = config.get('log_level', 'INFO')
    if not isinstance(logging.getLevelName(level) if isinstance(level, str) else level, int):
        message = f"{level!r}; expected one of 'DEBUG', 'INFO', 'WARNING' and 'ERROR'"
        yield Finding.error('log_level', message)
    method = value_at(config, key := 'env_cfg.mp_cfg.mp_start_method')
    if isinstance(method, str) and method not in (known := get_all_start_methods()):
        yield Finding.error(key, f'{method!r}; expected one of {", ".join(known)}')


def _total_batch(config: Config, world_size: int) -> Iterator[Finding]:
    base = value_at(config, 'auto_scale_lr.base_batch_size')
    batch = value_at(config, 'train_dataloader.batch_size')
    accumulated = value_at(config, 'optim_wrapper.accumulative_counts') or 1
    if not all(isinstance(number, int) and number > 0 for number in (base, batch, accumulated)):
        return
    if value_at(config, 'auto_scale_lr.enable'):
        return
    total = batch * world_size * accumulated
    if total != base:
        yield Finding.warning(
            'auto_scale_lr.base_batch_size',
            f'the learning rate is made for a total batch of {base}, but {batch} per process x '
            f'{world_size} processes x {accumulated} accumulated is {total}; pass --auto-scale-lr, '
            'or change optim_wrapper.accumulative_counts',
        )


def _two_views(config: Config) -> Iterator[Finding]:
    """Compare mask grid, patch size and stride of the tokenizer in the pre-training pipelines."""
    backbone, tokenizer = backbone_in(config), tokenizer_in(config)
    if backbone is None or tokenizer is None:
        return
    patch, stride = backbone.get('patch_size'), tokenizer.stride
    if not is_size(patch):
        return
    for key, pipeline in walk_pipelines(config):
        crop = find_transform(pipeline, 'TwoViewResizedCrop')
        mask = find_transform(pipeline, 'BlockwiseMask') or find_transform(pipeline, 'RandomMask')
        if crop is None or mask is None:
            continue
        size, token_size = crop[1].get('size'), crop[1].get('token_size')
        if not is_size(size):
            continue
        grid = _divide(size, patch)
        if any(side % 1 for side in grid):
            yield Finding.error(
                f'{key}.{crop[0]}.size',
                f'{size} is no multiple of patch_size={patch} of the backbone; set '
                f'size={_nearest(size, patch)}, or another patch_size',
            )
            continue
        if grid != _pair(mask[1].get('grid')):
            yield Finding.error(
                f'{key}.{mask[0]}.grid',
                f'{mask[1].get("grid")}, but size={size} / patch_size={patch} gives '
                f'{_text(grid)} patches; set grid={tuple(round(side) for side in grid)}',
            )
        if stride and is_size(token_size) and _divide(token_size, stride) != grid:
            yield Finding.error(
                f'{key}.{crop[0]}.token_size',
                f'{token_size} / stride={stride} of the tokenizer gives '
                f'{_text(_divide(token_size, stride))} tokens, but there are {_text(grid)} '
                f'patches; set token_size={tuple(round(side * stride) for side in grid)}',
            )


def _vocabulary(config: Config) -> Iterator[Finding]:
    """Compare the vocabulary of the tokenizer with that of the head and of the metrics.

    The head's may be left out, and is the tokenizer's then.
    """
    tokenizer = tokenizer_in(config)
    wanted = None if tokenizer is None else tokenizer.vocab_size
    if not wanted:
        return
    named = f'but {tokenizer.key}.vocab_size={wanted}'
    own = value_at(config, 'model.head.vocab_size')
    if isinstance(own, int) and own != wanted:
        message = f'{own}, {named}; the head predicts ids of this tokenizer, set them equal'
        yield Finding.error('model.head.vocab_size', message)
    for name in ('val_evaluator', 'test_evaluator'):
        for _, metric in entries(config.get(name), name):
            size = metric.get('vocab_size') if isinstance(metric, Mapping) else None
            if size and size != wanted:
                yield Finding.error(f'{name}.vocab_size', f'{size}, {named}; set them equal')


def is_size(value) -> bool:
    """Return whether it is a length of at least 1, or a pair of these."""
    sides = value if isinstance(value, list | tuple) else [value]
    return 1 <= len(sides) <= 2 and all(
        isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides
    )


def _divide(size, by) -> tuple[float, ...]:
    return tuple(side / one for side, one in zip(_pair(size), _pair(by), strict=True))


def _nearest(size, by) -> int | tuple[int, ...]:
    """Return the size next to ``size`` that ``by`` divides."""
    sides = zip(_pair(size), _pair(by), strict=True)
    near = tuple(max(round(side / one), 1) * one for side, one in sides)
    return near if isinstance(size, list | tuple) else near[0]


def _pair(size) -> tuple:
    sides = tuple(size) if isinstance(size, list | tuple) else (size,)
    return sides * 2 if len(sides) == 1 else sides


def _text(grid: tuple) -> str:
    return ' x '.join(f'{side:g}' for side in grid)
