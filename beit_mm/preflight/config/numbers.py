"""Numbers of a config that have to agree with each other."""

import math
from collections.abc import Iterator

from mmengine.config import Config

from beit_mm.preflight.config.finding import Finding
from beit_mm.preflight.config.keys import value_at


def check_numbers(config: Config, world_size: int) -> Iterator[Finding]:
    for key in ('model', 'optim_wrapper', 'train_cfg', 'auto_scale_lr', 'train_dataloader'):
        if config.get(key) is not None and not isinstance(config[key], dict):
            yield Finding('error', key, f'{config[key]!r}; expected a dict')
            return
    yield from _types(config)
    yield from _schedule(config)
    yield from _checkpoints(config)
    yield from _range_of_images(config)
    yield from _total_batch(config, world_size)
    yield from _two_views(config)
    yield from _tokenizer(config)


def _schedule(config: Config) -> Iterator[Finding]:
    """The learning rate has to end with the run, neither before nor after it."""
    train = config.get('train_cfg') or {}
    unit = 'max_iters' if train.get('max_iters') else 'max_epochs'
    length = train.get(unit)
    begins, ends = {}, {}  # key -> where the schedule begins and is over
    schedulers = _as_list(config.get('param_scheduler'))
    for number, scheduler in enumerate(schedulers):
        key = f'param_scheduler.{number}'
        by_epoch, begin = scheduler.get('by_epoch', True), scheduler.get('begin', 0)
        if isinstance(scheduler.get('end'), (int, float)) and scheduler['end'] <= begin:
            yield Finding(
                'error',
                f'{key}.end',
                f'{scheduler["end"]}, but it begins at {begin}; set begin of it, and end of the '
                f'one before, below {scheduler["end"]}',
            )
        if by_epoch and unit == 'max_iters' and not scheduler.get('convert_to_iter_based'):
            yield Finding(
                'error',
                f'{key}.by_epoch',
                'True, but a loop of iterations has no epochs that the schedule could count: it '
                'stays at its beginning; set by_epoch=False, and begin and end in iterations',
            )
        elif by_epoch == (unit == 'max_epochs'):
            name, end = _end_of(scheduler)
            if isinstance(end, (int, float)):
                ends[f'{key}.{name}'] = end
                begins[f'{key}.{name}'] = begin
    if not isinstance(length, (int, float)) or not ends:
        return
    for key, end in ends.items():
        late = begins[key] >= length
        if end > length + 1:  # some schedules reach their end one step after the last
            yield Finding(
                'warning',
                key,
                f'{end}, but train_cfg.{unit}={length}: training stops before the schedule does; '
                'set them equal' + (f', and begin of it below {length}' if late else ''),
            )
    key = max(ends, key=ends.get)
    if ends[key] < length and len(ends) == len(schedulers):
        then = 'rises again' if key.endswith('T_max') else 'stands still'
        yield Finding(
            'warning',
            key,
            f'{ends[key]}, but train_cfg.{unit}={length}: the learning rate {then} after it; set '
            'them equal',
        )


def _end_of(scheduler: dict) -> tuple[str, int | None]:
    """The argument that says when a schedule is over, and when; None: it goes on for ever."""
    begin, end = scheduler.get('begin', 0), scheduler.get('end')
    period = scheduler.get('T_max')
    if isinstance(period, int) and (end is None or begin + period < end):
        return 'T_max', begin + period
    if scheduler.get('milestones'):
        return 'milestones', max(scheduler['milestones'])
    return 'end', end


def _checkpoints(config: Config) -> Iterator[Finding]:
    """Counted in what the loop counts; a loop of iterations is one epoch, saved at its end."""
    hook = (config.get('default_hooks') or {}).get('checkpoint')
    by_iter = (config.get('train_cfg') or {}).get('max_iters')
    if by_iter and isinstance(hook, dict) and hook.get('by_epoch', True):
        yield Finding(
            'warning',
            'default_hooks.checkpoint.by_epoch',
            'True, but a loop of iterations has no epochs: nothing is saved before its end; set '
            'by_epoch=False, and interval in iterations',
        )


def _types(config: Config) -> Iterator[Finding]:
    for key in (
        *('optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'),
        *('train_dataloader.batch_size', 'train_cfg.max_iters', 'train_cfg.max_epochs'),
    ):
        if isinstance(value_at(config, key), str):
            message = f'{value_at(config, key)!r} is text; write the number without quotes'
            yield Finding('error', key, message)


def _range_of_images(config: Config) -> Iterator[Finding]:
    """Mean and std of images in [0, 1], for those that a loader of 8 bits leaves in [0, 255]."""
    inner = value_at(config, 'model.data_preprocessor')
    settings = config.get('data_preprocessor') or inner
    pipeline, key = _pipeline(config.get('train_dataloader'), 'train_dataloader')
    if not isinstance(settings, dict) or _transform(pipeline, 'LoadImageFromFile') is None:
        return
    mean, std = (settings.get(name) for name in ('mean', 'std'))
    if not all(isinstance(v, (list, tuple)) and v for v in (mean, std)):
        return
    if 0 < max(mean) <= 1 and max(std) <= 1:
        yield Finding(
            'warning',
            'data_preprocessor.mean',
            f'{list(mean)} and std={list(std)} are those of images in [0, 1], but these are in '
            '[0, 255]; multiply both by 255',
        )


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
    """Mask grid, patch size and stride of the tokenizer, in the pipelines of pre-training."""
    model = config.get('model') or {}
    backbone, tokenizer = model.get('backbone'), model.get('tokenizer')
    if not isinstance(tokenizer, dict) or not isinstance(backbone, dict):
        return
    patch = backbone.get('patch_size', 16)
    stride = tokenizer.get('stride', tokenizer.get('patch_size'))
    if stride is None and str(tokenizer.get('type', '')).endswith(
        ('DVAETokenizer', 'DALLETokenizer')
    ):
        stride = 8
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        pipeline, key = _pipeline(config.get(name), name)
        crop = _transform(pipeline, 'TwoViewResizedCrop')
        mask = _transform(pipeline, 'BlockwiseMask') or _transform(pipeline, 'RandomMask')
        if crop is None or mask is None:
            continue
        grid = tuple(side / patch for side in _pair(crop[1].get('size')))
        if grid != _pair(mask[1].get('grid')):
            yield Finding(
                'error',
                f'{key}.{mask[0]}.grid',
                f'{mask[1].get("grid")}, but size={crop[1].get("size")} / patch_size={patch} gives '
                f'{_plain(grid)} patches; set grid={tuple(round(side) for side in grid)}',
            )
        token_size = crop[1].get('token_size')
        if stride and token_size and tuple(s / stride for s in _pair(token_size)) != grid:
            wanted = tuple(round(side * stride) for side in grid)
            yield Finding(
                'error',
                f'{key}.{crop[0]}.token_size',
                f'{token_size} / stride={stride} of the tokenizer gives '
                f'{_plain(tuple(s / stride for s in _pair(token_size)))} tokens, but there are '
                f'{_plain(grid)} patches; set token_size={wanted}',
            )


def _tokenizer(config: Config) -> Iterator[Finding]:
    """One vocabulary in the tokenizer, which may be the model, in the head, and in the metrics."""
    model = config.get('model') or {}
    key = 'model.tokenizer' if 'tokenizer' in model else 'model'
    tokenizer, head = model.get('tokenizer', model), model.get('head')
    if not isinstance(tokenizer, dict):
        return
    wanted = _vocab_size(tokenizer)
    own = head.get('vocab_size') if isinstance(head, dict) else None
    if own and wanted and own != wanted:
        yield Finding(
            'error',
            'model.head.vocab_size',
            f'{own}, but {key}.vocab_size={wanted}; the head predicts ids of this '
            'tokenizer, set them equal',
        )
    for name in ('val_evaluator', 'test_evaluator'):
        for metric in _as_list(config.get(name)):
            size = metric.get('vocab_size')
            if size and wanted and size != wanted:
                yield Finding(
                    'error',
                    f'{name}.vocab_size',
                    f'{size}, but {key}.vocab_size={wanted}; set them equal',
                )


def _vocab_size(tokenizer: dict) -> int | None:
    """From the options of any tokenizer here; None: they don't say."""
    if tokenizer.get('levels'):  # FSQ
        return math.prod(tokenizer['levels'])
    if tokenizer.get('bits'):  # LFQ
        return 2 ** tokenizer['bits']
    if tokenizer.get('num_codes') and tokenizer.get('num_levels'):  # residual VQ
        return tokenizer['num_codes'] ** tokenizer['num_levels']
    return tokenizer.get('vocab_size')


def _pipeline(part, key: str) -> tuple[list, str]:
    """The transforms of a dataloader, inside of whatever wraps its data set, and their key."""
    while isinstance(part, dict) and 'pipeline' not in part:
        part, key = part.get('dataset'), f'{key}.dataset'
    return (part['pipeline'], f'{key}.pipeline') if isinstance(part, dict) else ([], key)


def _transform(pipeline: list, name: str) -> tuple[int, dict] | None:
    for number, transform in enumerate(pipeline):
        if isinstance(transform, dict) and str(transform.get('type')).split('.')[-1] == name:
            return number, transform
    return None


def _pair(size) -> tuple:
    return tuple(size) if isinstance(size, (list, tuple)) else (size, size)


def _plain(grid: tuple) -> str:
    return ' x '.join(f'{side:g}' for side in grid)


def _as_list(part) -> list:
    return [p for p in (part if isinstance(part, (list, tuple)) else [part]) if isinstance(p, dict)]
