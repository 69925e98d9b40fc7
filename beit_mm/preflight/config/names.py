"""The classes that a config names: whether they exist, and which arguments they take."""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry

from beit_mm.contracts import Finding
from beit_mm.contracts.constructor import constructor_parameters

SCOPES = ('beit_mm', 'mmpretrain', 'mmseg')
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
OTHER = ('norm_cfg', 'act_cfg', 'conv_cfg', 'norm_layer', 'schedules', 'augments', 'policies')
# Names of different classes in mmcv and in mmpretrain or mmseg.
LOOKALIKES = ('LoadAnnotations', 'RandomCrop', 'Resize')
HOOKS = ('default_hooks', 'custom_hooks')
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
# By their signature they take any argument, but they refuse all that their parents do not take.
REFUSE_OTHERS = ('AtomicCheckpointHook',)
# Keys that the builder reads, and not the class.
GIVEN = {'type', '_scope_', '_delete_'}
BUILDER_READS = {
    'dataset': {'lazy_init'},
    'optim_wrapper': {'optimizer', 'constructor', 'paramwise_cfg'},
    'param_scheduler': {'convert_to_iter_based'},
    'pipeline': set(),
    'custom_hooks': {'priority'},
    'default_hooks': {'priority'},
    'model': {'data_preprocessor'},
}


def check_names(config: Config) -> Iterator[Finding]:
    """Yield unknown types, classes of another package, and arguments that a class does not take."""
    scope = config.get('default_scope') or 'mmengine'
    for key, part in config.items():
        if key in REGISTRIES:
            default = DEFAULT_TYPES.get(key)
            if key == 'data_preprocessor':
                default = DEFAULT_PREPROCESSORS.get(scope)
            if default is not None and isinstance(part, dict) and 'type' not in part:
                part = dict(part, type=default)
            yield from _walk(part, key, key, scope)
        elif key.endswith('_dataloader'):
            yield from _walk(part, key, None, scope)


def _walk(part, key: str, kind: str | None, scope: str) -> Iterator[Finding]:
    if isinstance(part, list | tuple):
        for number, value in enumerate(part):
            is_list_of_types = key.split('.')[-1] in LISTS_OF_TYPES
            if is_list_of_types and isinstance(value, dict) and 'type' not in value:
                yield Finding(
                    'error',
                    f'{key}.{number}',
                    f"{dict(value)} has no 'type'; a list takes the place of the base's as a "
                    'whole, write all of its entries',
                )
            yield from _walk(value, f'{key}.{number}', kind, scope)
    if not isinstance(part, dict):
        return
    scope = part.get('_scope_', scope)
    if kind is not None and isinstance(part.get('type'), str):
        yield from _check_type(part, key, kind, scope)
    if key == 'optim_wrapper' and isinstance(part.get('constructor'), str):
        yield from _check_type(
            dict(type=part['constructor']), f'{key}.constructor', 'constructor', scope
        )
    in_model = kind in ('model', 'init_cfg')
    for name, value in part.items():
        if name in OTHER or (in_model and name in ('train_cfg', 'test_cfg')):
            continue
        inner = name if name in REGISTRIES and kind not in HOOKS else kind
        yield from _walk(value, f'{key}.{name}', inner, scope)


def _check_type(part: dict, key: str, kind: str, scope: str) -> Iterator[Finding]:
    name = part['type']
    registry = REGISTRIES[kind]
    owner, _, bare = name.rpartition('.')
    if owner and owner not in SCOPES and owner != 'mmengine':
        return  # a scope or a path of the user's own
    cls = _find(registry, bare, owner or scope)
    if cls is None:
        place = key if kind == 'constructor' else f'{key}.type'
        yield Finding('error', place, _unknown_name(registry, name, owner or scope))
        return
    if not owner and bare in LOOKALIKES and not _is_own(cls, scope):
        others = [s for s in SCOPES if bare in _own_names(registry, s)]
        if others:
            yield Finding(
                'warning',
                f'{key}.type',
                f"'{name}' is {cls.__module__}.{bare} in scope {scope}, but {' and '.join(others)} "
                f"has another class of this name; write '{others[0]}.{bare}' if you mean that one, "
                f"or 'mmengine.{bare}' for this one",
            )
    if kind != 'constructor':  # it is given the whole optim_wrapper
        yield from _check_arguments(cls, part, key, kind)


def _check_arguments(cls, part: dict, key: str, kind: str) -> Iterator[Finding]:
    known = _arguments(cls)
    if known is None:
        return
    known = known | GIVEN | BUILDER_READS.get(kind, set())
    for name in sorted(set(part) - known):
        close = get_close_matches(name, known, 1, 0.6)
        advice = f"did you mean '{close[0]}'?" if close else 'remove it'
        yield Finding('error', f'{key}.{name}', f'{cls.__name__} takes no {name!r}; {advice}')


def _arguments(cls) -> set[str] | None:
    """Return the names that a class or function takes; None if it takes any."""
    if inspect.isclass(cls):
        parameters, takes_any = constructor_parameters(cls)
        return None if takes_any and cls.__name__ not in REFUSE_OTHERS else set(parameters)
    parameters = inspect.signature(cls).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return None if takes_any else set(parameters)


def find_class(registry: Registry, name, scope: str):
    """Return the class that a ``type`` names in ``scope``, None if there is none.

    A name with another prefix than the known scopes is looked up as MMEngine does: as a scope or as
    the path of a module.
    """
    if not isinstance(name, str):
        return name
    owner, _, bare = name.rpartition('.')
    if owner and owner not in (*SCOPES, 'mmengine'):
        with suppress(Exception):  # whatever the import of a user's module raises
            return registry.get(name)
        return None
    return _find(registry, bare, owner or scope)


def _find(registry: Registry, name: str, scope: str):
    """Return what ``name`` is in ``scope``: in the package's registry, else in its parent's."""
    return (_child(registry, scope) or registry).get(name)


def _child(registry: Registry, scope: str) -> Registry | None:
    """Import a package and return its registry below MMEngine's."""
    if scope != 'mmengine':
        with suppress(ImportError):
            import_module(f'{scope}.registry')
    child = registry._search_child(scope)
    if child is not None:
        child.import_from_location()
    return child


def _names(registry: Registry, scope: str) -> set[str]:
    """Return the names in a package's own registry."""
    child = _child(registry, scope)
    return set(child.module_dict) if child is not None and child is not registry else set()


def _own_names(registry: Registry, scope: str) -> set[str]:
    """Return the names of a package's own classes, without others that it registers again."""
    child = _child(registry, scope)
    return {name for name in _names(registry, scope) if _is_own(child.module_dict[name], scope)}


def _is_own(cls, scope: str) -> bool:
    return cls.__module__.split('.')[0] in (scope, 'torch')


def _unknown_name(registry: Registry, name: str, scope: str) -> str:
    bare = name.rpartition('.')[2]
    elsewhere = [s for s in SCOPES if s != scope and _find(registry, bare, s) is not None]
    if elsewhere:
        return f"{scope} has no '{bare}'; did you mean '{elsewhere[0]}.{bare}'?"
    known = set(registry.module_dict).union(*(_names(registry, s) for s in SCOPES))
    close = get_close_matches(bare, known, 1, 0.6)
    advice = f"; did you mean '{close[0]}'?" if close else '; is it imported (custom_imports)?'
    return f"{scope} has no '{bare}' in its registry {registry.name!r}{advice}"
