"""Top-level names of a config that MMEngine does not read, and lists that replace a base's."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import class_name
from beit_mm.preflight.config.sources import ConfigFile, read_sources

# Keys that MMEngine and the tools read beside the arguments of the runner.
OTHER_KEYS = {
    *('custom_imports', 'runner_type', 'compile', 'model_wrapper_cfg', 'data_preprocessor'),
    *('tta_model', 'tta_pipeline', '_base_', 'find_unused_parameters', 'sync_bn'),
    *('efficient_conv_bn_eval', 'activation_checkpointing', 'config_name'),
}
# Names of the first generation of OpenMMLab: those of the second.
OLD_NAMES = dict(
    optimizer='optim_wrapper = dict(optimizer=...)',
    optimizer_config='optim_wrapper = dict(clip_grad=...)',
    lr_config='param_scheduler',
    lr_scheduler='param_scheduler',
    runner='train_cfg',
    total_epochs='train_cfg = dict(max_epochs=...)',
    data='train_dataloader, val_dataloader and test_dataloader',
    evaluation='val_evaluator and train_cfg.val_interval',
    checkpoint_config='default_hooks = dict(checkpoint=...)',
    log_config='default_hooks = dict(logger=...)',
    workflow='train_cfg',
    resume_from='resume = True and load_from',
    dist_params='env_cfg = dict(dist_cfg=...)',
)


def top_level_keys(config: Config) -> set[str]:
    """Return the keys that are read at the top of a config, by its runner and by the tools."""
    kind = config.get('runner_type')
    classes = [Runner, RUNNERS.get('FlexibleRunner') if config.get('strategy') else None]
    classes += [kind if inspect.isclass(kind) else None]
    if isinstance(kind, str):
        classes.append(_runner(kind))
    parameters = (inspect.signature(cls.__init__).parameters for cls in classes if cls)
    return OTHER_KEYS | {name for some in parameters for name in some} - {'self', 'cfg'}


@cache
def _runner(name: str) -> type | None:
    try:
        cls = RUNNERS.get(name)
    except Exception:  # whatever the import of a user's module raises
        return None
    return cls if inspect.isclass(cls) else None


def check_variables(config: Config) -> Iterator[Finding]:
    """Yield names that nothing reads, variables that reach no part, and entries that lists lost.

    All are warnings: MMEngine passes over what it does not read.
    """
    known = top_level_keys(config)
    files = read_sources(config)
    for key in sorted(set(config) - known):
        if not _is_imported(config[key]):
            yield from _check_variable(config, key, files, known)
    if 'custom_hooks' in config:
        yield from _lost_hooks(config, files)


def _is_imported(value) -> bool:
    """Return whether it is a class, function or module that a pure Python config imported."""
    return isinstance(value, ModuleType) or callable(value) and not isinstance(value, Mapping)


def _check_variable(
    config: Config, key: str, files: list[ConfigFile], known: set[str]
) -> Iterator[Finding]:
    value, setter = config[key], _last_setter(config, key, files)
    places = [place for place, _ in _namesakes(config, key, known)]
    below = files if setter is None else files[files.index(setter) + 1 :]
    reader = next((file for file in files if key in file.reads), None)
    if reader is None and key == 'test_pipeline':
        return  # for the inferencers of MMPretrain and MMSegmentation
    if reader is None:
        yield Finding('warning', key, f'nothing reads it{_advise(config, key, known)}')
    elif reader in below and key in reader.values:
        own = reader.values[key]
        if not _is_same(own, value):
            where = f'; set {places[0]} instead' if places else '; set what it stood in instead'
            yield Finding(
                'warning',
                key,
                f'it does not reach what {reader.path.name} has built with {_short(own)}: a '
                f'variable acts in its own file alone{where}',
            )


def _last_setter(config: Config, key: str, files: list[ConfigFile]) -> ConfigFile | None:
    """Return the file that gave a variable its value; None if an option did."""
    setter = next((file for file in files if key in file.sets), None)
    if setter is None or (
        key in files[0].values and not _is_same(files[0].values[key], config[key])
    ):
        return None
    return setter


def _is_same(one, other) -> bool:
    """Compare values of a config, classes of pure Python configs by their names."""
    one, other = (Config(dict(value=value)).to_dict() for value in (one, other))
    return one == other


def _advise(config: Config, key: str, known: set[str]) -> str:
    if key in OLD_NAMES:
        return f' any more; use {OLD_NAMES[key]}'
    if not key.endswith('_pipeline') and (close := get_close_matches(key, known, 1, 0.75)):
        return f"; did you mean '{close[0]}'?"
    if namesakes := _namesakes(config, key, known):
        place, value = namesakes[0]
        return f" here; did you mean '{place}', which is {_short(value)}?"
    return '; remove it, or correct its name'


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'


def _namesakes(config: Config, key: str, known: set[str]) -> list[tuple[str, Any]]:
    """Return (place, value) of what has the name ``key`` in a part that is read."""
    return [
        (f'{name}.{place}', value)
        for name in config
        if name in known
        for place, value in _values(config[name])
        if place.split('.')[-1] == key
    ]


def _values(part, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield key and value of everything below ``part``."""
    if isinstance(part, dict):
        inner = [(name, part[name]) for name in part]
    else:
        inner = enumerate(part if isinstance(part, list | tuple) else ())
    for name, value in inner:
        place = f'{key}.{name}' if key else str(name)
        yield place, value
        yield from _values(value, place)


def _lost_hooks(config: Config, files: list[ConfigFile]) -> Iterator[Finding]:
    """Find hooks that a base has in ``custom_hooks``, and the list that took its place has not."""
    setter = _last_setter(config, 'custom_hooks', files)
    if setter is not None:
        before = setter.base_values('custom_hooks')
    else:
        before = [file.values.get('custom_hooks') for file in files[:1]]
    now = {class_name(hook) for hook in _as_list(config['custom_hooks'])}
    lost = {class_name(hook) for some in before for hook in _as_list(some)} - now - {''}
    if lost:
        yield Finding(
            'warning',
            'custom_hooks',
            f"the list takes the place of the base's, which has {', '.join(sorted(lost))} as well: "
            'write these too, unless they are left out on purpose',
        )


def _as_list(value) -> list:
    return [*value] if isinstance(value, list | tuple) else []
