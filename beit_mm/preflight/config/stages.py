"""Does the config do to images, patches and tokens what the checkpoints that it loads had done?"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from beit_mm.checkpoints import read_description
from beit_mm.checkpoints.description import differences, first_pipeline, images_of, pipelines_of
from beit_mm.contracts.digest import options_of, plain
from beit_mm.preflight.config.finding import Finding
from beit_mm.preflight.config.names import DEFAULT_PREPROCESSORS, find_class

ONE_OR_THREE = ('ImgDataPreprocessor', 'SegDataPreProcessor')


def check_stages(config: Config) -> Iterator[Finding]:
    """Files that ``load_from`` and ``init_cfg`` name, if they are there and say what they are.

    ``default_hooks.load_report.between_stages`` decides as it does in the training.
    """
    hooks = config.get('default_hooks')
    report = hooks.get('load_report') if isinstance(hooks, Mapping) else None
    mode = report.get('between_stages', 'report') if isinstance(report, Mapping) else 'ignore'
    if mode == 'ignore' or not isinstance(config.get('model'), Mapping):
        return
    key = 'data_preprocessor' if config.get('data_preprocessor') else 'model.data_preprocessor'
    here = None
    for part, source, prefix in _sources(config):
        found = read_description(source)
        if found is None:
            continue
        if prefix == 'backbone.' and 'tokenizer' in found and 'backbone' not in found:
            yield Finding(
                'error',
                f'model.{part}.init_cfg.checkpoint',
                f'{source} is a tokenizer ({found.get("model")}) and has no backbone; '
                'name the checkpoint of the pre-training with it',
            )
            continue
        here = here or parts_of_config(config)
        for level, place, message in differences(
            found, here, source, part, resumes=bool(config.get('resume')), preprocessor=key
        ):
            level = dict(warn='warning', error='error').get(mode, level)
            yield Finding(level, place, message)


def check_normalized_once(config: Config) -> Iterator[Finding]:
    """``Normalize`` in a pipeline and a preprocessor that normalizes, or in one pipeline only."""
    normalizes = (_preprocessor(config) or {}).get('mean') is not None
    places: dict[str, str | None] = {}
    for key, pipeline in pipelines_of(config):
        names = [str(transform.get('type')).split('.')[-1] for transform in pipeline]
        places[key] = f'{key}.{names.index("Normalize")}' if 'Normalize' in names else None
    found = {key: place for key, place in places.items() if place is not None}
    for place in found.values():
        if normalizes:
            yield Finding(
                'error',
                place,
                'the images are normalized twice, here and by data_preprocessor.mean and std; '
                'remove one of them',
            )
        elif len(found) < len(places):
            other = next(name for name, at in places.items() if at is None)
            yield Finding(
                'error', place, f'the images are normalized here, but not in {other}; add it there'
            )


def check_means(config: Config) -> Iterator[Finding]:
    """MMEngine's preprocessor of images, and MMSegmentation's, take one mean or three."""
    given = _preprocessor(config) or {}
    mean = given.get('mean')
    name = given.get('type')
    if name not in ONE_OR_THREE or not isinstance(mean, Sequence) or len(mean) in (1, 3):
        return
    yield Finding(
        'error',
        'data_preprocessor.mean',
        f'{name} takes 1 or 3 values, here are {len(mean)}; set mean=None and std=None there, and '
        "add dict(type='Normalize', mean=[...], std=[...], to_rgb=False) to each pipeline",
    )


def parts_of_config(config: Config) -> dict[str, Any]:
    """As :func:`beit_mm.checkpoints.description.here_of`, without building anything."""
    scope = config.get('default_scope') or 'mmengine'
    model, pipeline = config.model, first_pipeline(config)
    settings = _preprocessor(config)
    parts: dict[str, Any] = dict(model=str(model.get('type')).split('.')[-1])
    images = images_of(settings, pipeline)
    if images is not None:
        parts['images'] = images
        if _type(settings, scope) == 'ClsDataPreprocessor':
            images['order_key'] = 'to_rgb'
    backbone = model.get('backbone')
    if isinstance(backbone, Mapping):
        values = _with_defaults(backbone, scope)
        names = ('patch_size', 'in_channels')
        parts['backbone'] = {name: values[name] for name in names if name in values}
        parts['backbone']['adapts_channels'] = values.get('adapt_channels') is not None
    is_model = 'tokenizer' not in model and backbone is None
    tokenizer = model if is_model else model.get('tokenizer')
    cls = find_class(MODELS, (tokenizer or {}).get('type'), scope)
    if all(hasattr(cls, name) for name in ('encode', 'usage_counts')):
        values = _with_defaults(tokenizer, scope)
        tokens = images if is_model else images_of(_with_scale(settings), pipeline, tokens=True)
        names = ('vocab_size', 'stride', 'in_channels')
        parts['tokenizer'] = dict(
            type=cls.__name__,
            bases=[parent.__name__ for parent in cls.__mro__],
            options=plain(options_of(tokenizer)),
            images=tokens,
            **{name: values[name] for name in names if name in values},
        )
    return parts


def _sources(config: Config) -> Iterator[tuple[str, str, str | None]]:
    """(part of the model, file, prefix in it) of all that is loaded."""
    if isinstance(config.get('load_from'), str):
        yield 'model', config.load_from, None
    for part in ('model', 'backbone', 'tokenizer'):
        owner = config.model if part == 'model' else config.model.get(part)
        steps = owner.get('init_cfg') if isinstance(owner, Mapping) else None
        for step in steps if isinstance(steps, list | tuple) else [steps]:
            if not isinstance(step, Mapping) or step.get('type') != 'Pretrained':
                continue
            if isinstance(step.get('checkpoint'), str):
                yield part, step['checkpoint'], step.get('prefix')


def _preprocessor(config: Config) -> dict | None:
    """The config of the preprocessor, with the name of its class; None: it can't be known."""
    model = config.get('model')
    inside = model.get('data_preprocessor') if isinstance(model, Mapping) else None
    given = config.get('data_preprocessor') or inside
    if not isinstance(given, Mapping):
        return None
    scope = config.get('default_scope') or 'mmengine'
    return dict(given, type=_type(given, scope))


def _type(given: Mapping | None, scope: str) -> str | None:
    name = (given or {}).get('type') or DEFAULT_PREPROCESSORS.get(scope)
    return None if name is None else str(name).split('.')[-1]


def _with_scale(settings: Mapping | None) -> dict | None:
    """With TwoViewDataPreprocessor's default where it is one."""
    if settings is None:
        return None
    scale = 255.0 if settings.get('type') == 'TwoViewDataPreprocessor' else None
    return dict(dict(token_scale=scale), **settings)


def _with_defaults(part: Mapping, scope: str) -> dict[str, Any]:
    """The arguments of a class, those that it has by default included."""
    cls = find_class(MODELS, part.get('type'), scope)
    values: dict[str, Any] = {}
    for parent in reversed(getattr(cls, '__mro__', ())):
        if '__init__' in vars(parent):
            try:
                signature = inspect.signature(parent.__init__)
            except (ValueError, TypeError):
                continue
            for name, parameter in signature.parameters.items():
                if parameter.default is not parameter.empty:
                    values[name] = parameter.default
    return {**values, **part}
