"""The classes that a config names: whether they exist, and which arguments they take."""

import inspect
from collections.abc import Iterator
from difflib import get_close_matches
from typing import NamedTuple

from mmengine import registry as root
from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import DATALOADERS, class_name
from beit_mm.preflight.config.classes import (
    KNOWN_PACKAGES,
    explain_unknown,
    find_class,
    flags_of,
    lookalikes,
    optional_packages,
    package_of,
    takes_arguments,
)
from beit_mm.preflight.config.structure import BOOLEANS, explain_flag

# What the runner builds at the top of a config.
BUILT = (
    *('model', 'data_preprocessor', 'optim_wrapper', 'param_scheduler', 'default_hooks'),
    *('custom_hooks', 'val_evaluator', 'test_evaluator', 'visualizer', 'train_cfg', 'val_cfg'),
    *('test_cfg', 'log_processor', 'model_wrapper_cfg', *DATALOADERS),
)
# The registry of what is below a key; the innermost key counts.
REGISTRIES = dict(
    model=root.MODELS,
    data_preprocessor=root.MODELS,
    dataset=root.DATASETS,
    pipeline=root.TRANSFORMS,
    transforms=root.TRANSFORMS,
    sampler=root.DATA_SAMPLERS,
    collate_fn=root.FUNCTIONS,
    optim_wrapper=root.OPTIM_WRAPPERS,
    optimizer=root.OPTIMIZERS,
    constructor=root.OPTIM_WRAPPER_CONSTRUCTORS,
    param_scheduler=root.PARAM_SCHEDULERS,
    default_hooks=root.HOOKS,
    custom_hooks=root.HOOKS,
    metrics=root.METRICS,
    val_evaluator=root.METRICS,
    test_evaluator=root.METRICS,
    visualizer=root.VISUALIZERS,
    vis_backends=root.VISBACKENDS,
    init_cfg=root.WEIGHT_INITIALIZERS,
    train_cfg=root.LOOPS,
    val_cfg=root.LOOPS,
    test_cfg=root.LOOPS,
    log_processor=root.LOG_PROCESSORS,
    model_wrapper_cfg=root.MODEL_WRAPPERS,
)
# Below these, `type` names something else: a norm layer, an activation, ...
OTHER = (
    *('norm_cfg', 'act_cfg', 'conv_cfg', 'norm_layer', 'schedules', 'augments', 'policies'),
    *('override', 'upsample_cfg', 'pad_cfg', 'metainfo'),
)
# Classes that give names of another library to other builders.
FOREIGN = ('Albu', 'Albumentations')
# Names of different classes in mmcv and in mmseg that do not do the same.
LOOKALIKES = ('LoadAnnotations',)
EVALUATORS = ('val_evaluator', 'test_evaluator')
# Classes of these dicts where they name none.
DEFAULT_TYPES = dict(
    optim_wrapper='OptimWrapper',
    log_processor='LogProcessor',
    val_cfg='ValLoop',
    test_cfg='TestLoop',
)
DEFAULT_PREPROCESSORS = dict(
    mmpretrain='ClsDataPreprocessor', mmseg='SegDataPreProcessor', beit_mm='TwoViewDataPreprocessor'
)
LISTS_OF_TYPES = ('pipeline', 'param_scheduler', 'custom_hooks')  # every entry is built
# Keys of the parts that are built wherever they are a dict: what is below model or a dataloader.
PARTS = dict(
    model=('backbone', 'neck', 'head', 'decode_head', 'tokenizer'),
    optim_wrapper=('optimizer',),
    **{name: ('dataset', 'sampler') for name in DATALOADERS},
)
# Values that no part can be.
NOT_BUILT = (type(None), bool, int, float, complex, str, bytes, list, tuple, set)
# Kinds that have others of their kind below any key; elsewhere a `type` may be any word.
NESTS = ('model', 'dataset', 'pipeline', 'transforms')
# Registries that a key changes to inside of these; other keys have another meaning there.
INSIDE = dict(
    val_evaluator=('metrics',),
    test_evaluator=('metrics',),
    default_hooks=(),
    custom_hooks=(),
    model=('init_cfg', 'data_preprocessor', 'dataset', 'pipeline'),
    init_cfg=(),
    pipeline=('pipeline', 'transforms'),
    transforms=('pipeline', 'transforms'),
)
# Keys that the builder reads, and not the class.
GIVEN = {'type', '_scope_', '_delete_'}
BUILDER_READS = {
    'dataset': {'lazy_init'},
    'optim_wrapper': {'optimizer', 'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'pipeline': set(),
    'custom_hooks': {'priority'},
    'default_hooks': {'priority'},
    'model': {'data_preprocessor', 'pretrained'},
}


def check_names(config: Config) -> Iterator[Finding]:
    """Yield unknown types, classes of another package, and arguments that a class does not take.

    What a class of another package builds in its own way is a warning.
    """
    scope = config.get('default_scope') or 'mmengine'
    for key in BUILT:
        part = config.get(key)
        default = DEFAULT_TYPES.get(key)
        if key == 'optim_wrapper' and isinstance(part, dict) and 'optimizer' not in part:
            default = None  # the constructor reads the rest: a wrapper for each part of a GAN
        if key == 'data_preprocessor':
            default = DEFAULT_PREPROCESSORS.get(scope)
        if default is not None and isinstance(part, dict) and 'type' not in part:
            part = dict(part, type=default)
        yield from _walk(part, Place(key, key if key in REGISTRIES else None, scope))


class Place(NamedTuple):
    """Where in a config the walk is.

    Attributes:
        key: As ``--cfg-options`` writes it.
        kind: The key of ``REGISTRIES`` from which a ``type`` is built here.
        scope: In which it is looked up.
        level: Of what is wrong here.
    """

    key: str
    kind: str | None
    scope: str
    level: str = 'error'

    @property
    def is_deep(self) -> bool:
        """Return whether it is inside of a part of the model."""
        return self.kind == 'model' and self.key.count('.') > 1

    @property
    def name(self) -> str:
        return self.key.rsplit('.', 1)[-1]

    def step(self, name, kind: str | None) -> 'Place':
        return self._replace(key=f'{self.key}.{name}', kind=kind)


def _walk(part, place: Place) -> Iterator[Finding]:
    if isinstance(part, list | tuple):
        for number, value in enumerate(part):
            step = place.step(number, place.kind)
            if place.name in LISTS_OF_TYPES and place.kind is not None:
                yield from _check_entry(value, step)
            yield from _walk(value, step)
    if not isinstance(part, dict):
        return
    own_scope = part.get('_scope_')
    place = place._replace(scope=own_scope if isinstance(own_scope, str) else place.scope)
    cls = None
    if place.kind is not None and 'type' in part:
        cls = yield from _check_type(part, place)
    if place.key == 'optim_wrapper' and part.get('constructor') is not None:
        step = place.step('constructor', 'constructor')
        yield from _check_type(dict(type=part['constructor']), step)
    if place.key.startswith(('custom_hooks.', 'default_hooks.')) or class_name(part) in FOREIGN:
        if cls is not None and package_of(cls) == 'beit_mm' and 'dataset' in part:
            yield from _walk(part['dataset'], place.step('dataset', 'dataset'))
        return  # what others are given is their own matter
    if cls is not None and package_of(cls) not in KNOWN_PACKAGES:
        place = place._replace(level='warning')
    yield from _walk_inner(part, place)


def _check_entry(value, place: Place) -> Iterator[Finding]:
    """Check that an entry of a list can be built, or is built already."""
    if isinstance(value, NOT_BUILT):
        yield Finding(place.level, place.key, f"{value!r}; expected a dict with a 'type'")
    elif isinstance(value, dict) and 'type' not in value:
        yield Finding(
            place.level,
            place.key,
            f"{dict(value)} has no 'type'; a list takes the place of the base's as a whole, write "
            'all of its entries',
        )


def _walk_inner(part: dict, place: Place) -> Iterator[Finding]:
    in_model = place.kind in ('model', 'init_cfg')
    for name in part:
        if name in OTHER or (in_model and name in ('train_cfg', 'test_cfg', 'sampler')):
            continue
        value, changes = part[name], name in INSIDE.get(place.kind, REGISTRIES)
        outer = place.kind if place.kind in NESTS or 'type' not in part else None
        step = place.step(name, name if changes else outer)
        if name in PARTS.get(place.key, ()):
            if isinstance(value, NOT_BUILT) and value is not None and not isinstance(value, list):
                yield Finding(place.level, step.key, f"{value!r}; expected a dict with a 'type'")
            elif isinstance(value, dict) and 'type' not in value:
                message = f"{_short(value)} has no 'type', so nothing can be built of it; add it"
                yield Finding(place.level, step.key, message)
        yield from _walk(value, step)


def _check_type(part: dict, place: Place) -> Iterator[Finding]:
    """Check the class that a dict names, and return it; None if there is none."""
    name, registry = part['type'], REGISTRIES[place.kind]
    if place.kind in EVALUATORS and 'metrics' in part:
        registry = root.EVALUATOR
    key = place.key if place.kind == 'constructor' else f'{place.key}.type'
    if not isinstance(name, str) and not callable(name):
        yield Finding(place.level, key, f'{name!r}; expected the name of a class, in quotes')
        return None
    cls = find_class(registry, name, place.scope)
    if cls is None and place.is_deep and not name[:1].isupper():
        return None  # no class, but a word that the part around it knows
    if cls is None:
        found = explain_unknown(registry, name, place.scope)
        yield found if isinstance(found, Finding) else Finding(place.level, key, found)
        return None
    if name in LOOKALIKES and (others := lookalikes(registry, cls, name, place.scope)):
        yield Finding.warning(
            key,
            f"'{name}' is {cls.__module__}.{name} in scope {place.scope}, but "
            f"{' and '.join(others)} has another class of this name; write '{others[0]}.{name}' "
            f"if you mean that one, or 'mmengine.{name}' for this one",
        )
    if place.kind != 'constructor':  # it is given the whole optim_wrapper
        yield from _check_arguments(cls, part, place)
    return cls


def _check_arguments(cls, part: dict, place: Place) -> Iterator[Finding]:
    for name in flags_of(cls) & set(part):
        if isinstance(part[name], str) and part[name].lower() in BOOLEANS:
            yield Finding(place.level, f'{place.key}.{name}', explain_flag(part[name]))
    known = takes_arguments(cls)
    if known is None:
        return
    known = known | GIVEN | BUILDER_READS.get(place.kind, set())
    unknown = sorted(map(str, set(part) - known))
    if unknown and inspect.isclass(cls) and (missing := optional_packages(cls.__module__)):
        message = f'{cls.__name__} needs {" and ".join(missing)}; install it with pip'
        yield Finding(place.level, f'{place.key}.type', message)
        return
    for name in unknown:
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else 'remove it'
        yield Finding(
            place.level, f'{place.key}.{name}', f'{cls.__name__} takes no {name!r}; {advice}'
        )


def _short(value) -> str:
    text = repr(dict(value))
    return text if len(text) <= 60 else f'{text[:60]}...'
