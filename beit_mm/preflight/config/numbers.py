"""Numbers of a config that have to agree with each other."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import find_transform, walk_pipelines
from beit_mm.preflight.config.keys import value_at
from beit_mm.preflight.config.parts import backbone_in, tokenizer_in


def check_numbers(config: Config, world_size: int) -> Iterator[Finding]:
    """Yield numbers that are text, and batch sizes, grids and vocabularies that disagree."""
    for key in ('model', 'optim_wrapper', 'train_cfg', 'auto_scale_lr', 'train_dataloader'):
        if config.get(key) is not None and not isinstance(config[key], Mapping):
            yield Finding('error', key, f'{config[key]!r}; expected a dict')
            return
    yield from _types(config)
    yield from _total_batch(config, world_size)
    yield from _two_views(config)
    yield from _vocabulary(config)


def _types(config: Config) -> Iterator[Finding]:
    for key in (
        *('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'),
        *('train_dataloader.batch_size', 'train_cfg.max_iters', 'train_cfg.max_epochs'),
    ):
        if isinstance(value := value_at(config, key), str):
            yield Finding('error', key, f'{value!r} is text; write the number without quotes')


def _total_batch(config: Config, world_size: int) -> Iterator[Finding]:
    scale = config.get('auto_scale_lr') or {}
    base = scale.get('base_batch_size')
    batch = (config.get('train_dataloader') or {}).get('batch_size')
    if not base or not isinstance(batch, int) or scale.get('enable'):
        return
    accumulated = (config.get('optim_wrapper') or {}).get('accumulative_counts', 1)
    total = batch * world_size * accumulated
    if total != base:
        yield Finding(
            'warning',
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
    if patch is None:
        return
    for key, pipeline in walk_pipelines(config):
        crop = find_transform(pipeline, 'TwoViewResizedCrop')
        mask = find_transform(pipeline, 'BlockwiseMask') or find_transform(pipeline, 'RandomMask')
        if crop is None or mask is None:
            continue
        size, token_size = crop[1].get('size'), crop[1].get('token_size')
        grid = _divide(size, patch)
        if grid != _pair(mask[1].get('grid')):
            yield Finding(
                'error',
                f'{key}.{mask[0]}.grid',
                f'{mask[1].get("grid")}, but size={size} / patch_size={patch} gives '
                f'{_text(grid)} patches; set grid={tuple(round(side) for side in grid)}',
            )
        if stride and token_size and _divide(token_size, stride) != grid:
            yield Finding(
                'error',
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
    if own and own != wanted:
        message = f'{own}, {named}; the head predicts ids of this tokenizer, set them equal'
        yield Finding('error', 'model.head.vocab_size', message)
    for name in ('val_evaluator', 'test_evaluator'):
        metrics = config.get(name)
        for metric in metrics if isinstance(metrics, list | tuple) else [metrics]:
            size = metric.get('vocab_size') if isinstance(metric, Mapping) else None
            if size and size != wanted:
                yield Finding('error', f'{name}.vocab_size', f'{size}, {named}; set them equal')


def _divide(size, by: int) -> tuple[float, ...]:
    return tuple(side / by for side in _pair(size))


def _pair(size) -> tuple:
    return tuple(size) if isinstance(size, list | tuple) else (size, size)


def _text(grid: tuple) -> str:
    return ' x '.join(f'{side:g}' for side in grid)
