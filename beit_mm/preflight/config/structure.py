"""What the runner needs of a config before it can build anything."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from numbers import Real
from os import PathLike

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import DATALOADERS, class_name
from beit_mm.preflight.config.keys import value_at

DICTS = (
    *('model', 'optim_wrapper', 'train_cfg', 'val_cfg', 'test_cfg', 'default_hooks', 'env_cfg'),
    *('auto_scale_lr', 'randomness', 'log_processor', 'visualizer', 'data_preprocessor'),
    *DATALOADERS,
)
LISTS_OR_DICTS = ('param_scheduler', 'val_evaluator', 'test_evaluator')
LISTS = ('custom_hooks',)
TEXTS = ('default_scope', 'load_from')
TOGETHER = (  # Runner.__init__ takes all of these or none
    ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    ('val_dataloader', 'val_cfg', 'val_evaluator'),
    ('test_dataloader', 'test_cfg', 'test_evaluator'),
)
KNOWN = {*DICTS, *LISTS_OR_DICTS, *LISTS}
# Loops that are known -> what says their length.
LOOPS = dict(
    EpochBasedTrainLoop='max_epochs',
    IterBasedTrainLoop='max_iters',
    ResumableEpochLoop='max_epochs',
    ResumableIterLoop='max_iters',
)
WAITING = ('EpochBasedTrainLoop', 'ValLoop', 'TestLoop')
FLAGS = (
    *('resume', 'auto_scale_lr.enable', 'randomness.deterministic', 'randomness.diff_rank_seed'),
    *('env_cfg.cudnn_benchmark', 'find_unused_parameters'),
    *(f'{loader}.{flag}' for loader in DATALOADERS for flag in ('drop_last', 'pin_memory')),
    *(f'{loader}.persistent_workers' for loader in DATALOADERS),
)
BOOLEANS = dict(yes=True, on=True, true=True, no=False, off=False, false=False)  # as text


def check_structure(config: Config) -> Iterator[Finding]:
    """Yield parts that are no dict or list, that lack their ``type``, or lack one another."""
    for key in config:
        if not isinstance(key, str):
            yield Finding.warning(str(key), 'nothing reads a key that is no text; remove it')
    for key in wrong_kinds(config):
        expected = 'a dict' if key in DICTS else 'text' if key in TEXTS else 'a list of dicts'
        yield Finding.error(key, f'{config[key]!r}; expected {expected}')
    for key in ('model', 'visualizer'):
        if isinstance(config.get(key), Mapping) and 'type' not in config[key]:
            yield Finding.error(key, "has no 'type', the class to build; add it")
    for group in TOGETHER:
        given = [key for key in group if config.get(key) is not None]
        for key in sorted(set(group) - set(given)) if given else ():
            unknown = {name for name in config if isinstance(name, str)} - KNOWN
            close = get_close_matches(key, unknown, 1, 0.8)
            advice = f"; did you write it as '{close[0]}'?" if close else '; add it'
            yield Finding.error(key, f'is missing beside {" and ".join(given)}{advice}')
    for key in ('dataset', 'sampler'):  # a test set may be left out of the training
        for loader in DATALOADERS:
            part = config.get(loader)
            if isinstance(part, Mapping) and part and key not in part:
                if not (key == 'sampler' and 'batch_sampler' in part):
                    yield Finding.error(f'{loader}.{key}', 'is missing; add it')
    outer, inner = config.get('data_preprocessor'), value_at(config, 'model.data_preprocessor')
    if isinstance(outer, Mapping) and isinstance(inner, Mapping) and outer != inner:
        message = 'the model has its own, which is taken; set model.data_preprocessor instead'
        yield Finding.warning('data_preprocessor', message)
    yield from _loop(config)
    for key in FLAGS:
        value = value_at(config, key)
        if key == 'resume' and isinstance(value, str) and value.lower() not in BOOLEANS:
            message = f'{value!r} is read as True; set resume=True and load_from={value!r}'
            yield Finding.error(key, message)
        elif isinstance(value, str):
            yield Finding.error(key, explain_flag(value))


def _loop(config: Config) -> Iterator[Finding]:
    """Check how long the training is, and that a loop of MMEngine or of this package can run."""
    loop, wrapper = config.get('train_cfg'), config.get('optim_wrapper')
    if isinstance(wrapper, Mapping) and not {'optimizer', 'constructor'} & set(wrapper):
        yield Finding.error('optim_wrapper.optimizer', 'is missing; add it')
    if not isinstance(loop, Mapping):
        return
    if ('type' in loop) == ('by_epoch' in loop):
        both = 'both type and by_epoch' if 'type' in loop else 'neither type nor by_epoch'
        yield Finding.error('train_cfg', f'has {both}; one of them says what loop it is')
        return
    name = class_name(loop) or f'{"Epoch" if loop["by_epoch"] else "Iter"}BasedTrainLoop'
    if name not in LOOPS:
        return
    unit = LOOPS[name]
    key, length = f'train_cfg.{unit}', loop.get(unit)
    if unit not in loop:
        yield Finding.error(key, f'is missing, the length of the training by {name}; add it')
    elif not isinstance(length, Real) or length != length or length < 1 or length % 1:
        text = ', which is text' if isinstance(length, str) else ''
        message = f'{length!r}{text}; expected a whole number of at least 1'
        yield Finding.error(key, message)
        return
    if config.get('val_cfg') is not None:
        yield from _validations(loop, unit, length)
    yield from _endless(config, name)
    count = wrapper.get('accumulative_counts') if isinstance(wrapper, Mapping) else None
    known = unit == 'max_iters' and isinstance(count, int) and isinstance(length, int)
    if known and count > length:
        yield Finding.warning('optim_wrapper.accumulative_counts', explain_rare(count, length))


def _endless(config: Config, loop: str) -> Iterator[Finding]:
    """Find samplers without end in loops of MMEngine that wait for the end."""
    loops = dict(train_dataloader=loop)
    for name, default in (('val', 'ValLoop'), ('test', 'TestLoop')):
        loops[f'{name}_dataloader'] = class_name(config.get(f'{name}_cfg')) or default
    for key, name in loops.items():
        sampler = value_at(config, f'{key}.sampler')
        batches = value_at(config, f'{key}.batch_sampler')  # may end by itself
        if name in WAITING and class_name(sampler) == 'InfiniteSampler' and batches is None:
            message = f'InfiniteSampler never ends, which {name} waits for; take DefaultSampler'
            yield Finding.error(f'{key}.sampler', message)


def explain_rare(count: int, length: int) -> str:
    """Return why a run is too short for its accumulation."""
    return (
        f'{count} batches an update, but the training has {length}: it makes one update, at its '
        'end; take fewer, or train longer'
    )


def _validations(loop: Mapping, unit: str, length) -> Iterator[Finding]:
    for name in ('val_interval', 'val_begin'):
        value = loop.get(name, 1)
        if not isinstance(value, Real) or (name == 'val_interval' and value == 0):
            yield Finding.error(f'train_cfg.{name}', f'{value!r}; expected a number above 0')
        elif name == 'val_begin' and isinstance(length, int) and value > length:
            yield Finding.warning(
                'train_cfg.val_begin',
                f'{value}, but train_cfg.{unit}={length}: it is never validated; begin before',
            )


def explain_flag(text: str) -> str:
    """Return what is wrong with text in the place of True or False."""
    meant = BOOLEANS.get(text.lower(), 'True or False')
    return f'{text!r} is text, which counts as True; write {meant}'


def wrong_kinds(config: Config) -> list[str]:
    """Return the keys whose values are neither None nor of a kind that the runner takes."""
    kinds = {key: Mapping for key in DICTS}
    kinds |= {key: Mapping | list | tuple for key in LISTS_OR_DICTS}
    kinds |= {key: list | tuple for key in LISTS} | {key: str | PathLike for key in TEXTS}
    for name in ('val', 'test'):
        loop = class_name(config.get(f'{name}_cfg'))
        if loop not in ('', 'ValLoop', 'TestLoop'):  # a loop of one's own may take several
            kinds[f'{name}_dataloader'] = Mapping | list | tuple
    return [
        key
        for key, kind in kinds.items()
        if config.get(key) is not None and not isinstance(config[key], kind)
    ]
