"""Top-level names of a config that MMEngine does not read, and lists that replace a base's."""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from types import ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.registry import RUNNERS, TRANSFORMS
from mmengine.runner import Runner

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import class_name, is_number, leaf_dataset_configs, walk_values
from beit_mm.preflight.config.classes import KNOWN_PACKAGES, find_class, package_of
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
    classes = [Runner, find_class(RUNNERS, config.get('runner_type'), 'mmengine')]
    classes += [RUNNERS.get('FlexibleRunner')] if config.get('strategy') else []
    known = filter(inspect.isclass, classes)
    parameters = (inspect.signature(cls.__init__).parameters for cls in known)
    return OTHER_KEYS | {name for some in parameters for name in some} - {'self', 'cfg'}


def check_variables(config: Config) -> Iterator[Finding]:
    """Yield names that nothing reads, variables that reach no part, and entries that lists lost.

    All are warnings: MMEngine passes over what it does not read.
    """
    known = top_level_keys(config)
    files = read_sources(config)
    for key in sorted(set(config) - known):
        if not _is_imported(config[key]):
            yield from _check_variable(config, key, files, known)
    scope = config.get('default_scope') or 'mmengine'
    for key, find_lost in (
        ('custom_hooks', _lost_hooks),
        ('param_scheduler', _lost_start),
        ('train_dataloader', partial(_lost_steps, scope=scope)),
        ('val_dataloader', partial(_lost_steps, scope=scope)),
    ):
        now = config.get(key)
        if now is not None and (lost := find_lost(now, _before(config, key, files))):
            place = f'{key}.dataset.pipeline' if 'loader' in key else key
            message = f"the list takes the place of the base's, which has {lost} as well: write "
            message += 'these too, unless they are left out on purpose'
            yield Finding.warning(place, message)


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
    if reader is None and (key == 'test_pipeline' or value and _stands_in(config, value, known)):
        return  # for the inferencers of MMPretrain and MMSegmentation, or as a run has dumped it
    if reader is None:
        yield Finding.warning(key, f'nothing reads it{_advise(config, key, known)}')
    elif reader in below and key in reader.values:
        own = reader.values[key]
        if not _is_same(own, value) and not _stands_in(config, value, known):
            where = f'; set {places[0]} instead' if places else '; set what it stood in instead'
            yield Finding.warning(
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


def _stands_in(config: Config, value, known: set[str]) -> bool:
    """Return whether a list or dict is in use, as where ``set_sizes`` has changed all copies."""
    parts = (part for name in config if name in known for _, part in walk_values(config[name]))
    return isinstance(value, list | Mapping) and any(part == value for part in parts)


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
        for place, value in walk_values(config[name])
        if place.split('.')[-1] == key
    ]


def _before(config: Config, key: str, files: list[ConfigFile]) -> list:
    """Return the values of a key that the one in use was merged into, or has replaced."""
    setter = _last_setter(config, key, files)
    if setter is not None:
        return setter.base_values(key)
    return [file.values.get(key) for file in files[:1]]


def _lost_hooks(now, before: list) -> str:
    names = {class_name(hook) for hook in _as_list(now)}
    lost = {class_name(hook) for some in before for hook in _as_list(some)} - names - {''}
    return ', '.join(sorted(lost))


def _lost_start(now, before: list) -> str:
    """Return the schedules of the base for a time in which the list has none, a warm-up."""
    begins = [one.get('begin', 0) for one in _as_list(now) if isinstance(one, Mapping)]
    if not begins or not all(map(is_number, begins)) or min(begins) == 0:
        return ''
    earlier = [one for some in before for one in _as_list(some) if isinstance(one, Mapping)]
    names = [class_name(one) for one in earlier if one.get('begin', 0) == 0]
    return f'{names[0]} before step {min(begins)}' if names else ''


def _lost_steps(now, before: list, scope: str) -> str:
    """Return what loads or packs a sample in the base's pipeline, and has no successor."""
    part = _first_dataset(now)
    steps = _steps(part)
    classes = [find_class(TRANSFORMS, step['type'], scope) for step in steps]
    if not steps or any(cls is None or package_of(cls) not in KNOWN_PACKAGES for cls in classes):
        return ''
    names = {class_name(step) for step in steps}
    for base in map(_first_dataset, before):
        own = {class_name(step) for step in _steps(base)}
        for kind in ('Load', 'Pack') if class_name(base) == class_name(part) else ():
            kept, had = ({name for name in some if name.startswith(kind)} for some in (names, own))
            if len(kept) < len(had):
                return ', '.join(sorted(had - kept))
    return ''


def _steps(dataset: Mapping) -> list[Mapping]:
    """Return the transforms of a data set, and those inside of them."""
    inner = (value for _, value in walk_values(dataset.get('pipeline')))
    return [step for step in inner if isinstance(step, Mapping) and 'type' in step]


def _first_dataset(loader) -> Mapping:
    parts = leaf_dataset_configs(dict(a=loader), ('a',))
    return next((part.config for part in parts), {})


def _as_list(value) -> list:
    return [*value] if isinstance(value, list | tuple) else []
