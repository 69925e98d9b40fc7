"""The normalization of a run, in one form for all preprocessors: of ours, mmpretrain's, mmseg's."""

from collections.abc import Iterator, Mapping

import torch.nn as nn
from torch import Tensor

REVERSALS = ('bgr_to_rgb', 'to_rgb', 'rgb_to_bgr', '_channel_conversion')
WHITE_8_BIT, WHITE_16_BIT = 255.0, 65535.0


def preprocessor_settings(preprocessor: nn.Module) -> dict | None:
    """``mean``, ``std``, ``token_scale`` and the keys of :data:`REVERSALS` of a built one.

    ``mean`` is None where it is made to normalize, but doesn't. None as a whole: it says nothing
    about normalization.
    """
    known = isinstance(getattr(preprocessor, 'mean', None), Tensor)
    if not known and not hasattr(preprocessor, '_enable_normalize'):
        return None
    found = {name: bool(getattr(preprocessor, name, False)) for name in REVERSALS}
    for name in ('mean', 'std'):
        value = getattr(preprocessor, name, None)
        found[name] = value.flatten().tolist() if known else None
    found['token_scale'] = getattr(preprocessor, 'token_scale', None)
    return found


def images_of(settings: Mapping | None, pipeline: list, tokens: bool = False) -> dict | None:
    """What the network gets: ``mean``, ``std`` (pixel units), ``channel_order``, ``range``.

    ``channel_order`` is 'RGB' or 'BGR' where the pipeline has a loader that is known, else 'as
    loaded' or 'reversed'. ``range`` is [black, white] after the normalization, where white is 255,
    or 65535 if mean or std are above 255.

    Args:
        settings: Of the preprocessor, as :func:`preprocessor_settings` or its config has them.
        pipeline: Configs of the transforms that come before.
        tokens: The view of the tokenizer, which ``token_scale`` scales to [0, 1].
    """
    if settings is None:
        return None
    mean, std = _numbers(settings.get('mean')), _numbers(settings.get('std'))
    turns = sum(bool(settings.get(name)) for name in REVERSALS[:3])
    turns = turns or int(bool(settings.get(REVERSALS[3])))
    scale = settings.get('token_scale')
    if tokens:
        if not isinstance(scale, int | float):
            return None
        mean, std = [0.0], [float(scale)]
    elif mean is None or std is None:
        normalize = _transform(pipeline, 'Normalize')
        mean, std = [0.0], [1.0]
        if normalize is not None:
            mean, std = _numbers(normalize.get('mean')), _numbers(normalize.get('std'))
            turns += bool(normalize.get('to_rgb', True))
            if mean is None or std is None:
                return None
    if min(std) <= 0:
        return None
    above = max(mean + std) > WHITE_8_BIT
    white = WHITE_16_BIT if above else WHITE_8_BIT
    pairs = list(zip(mean, std, strict=False))
    return dict(
        mean=mean,
        std=std,
        channel_order=_order(pipeline, turns % 2 == 1),
        range=[
            round(min((0 - m) / s for m, s in pairs), 4),
            round(max((white - m) / s for m, s in pairs), 4),
        ],
    )


def pipelines_of(config: Mapping) -> Iterator[tuple[str, list]]:
    """(key, transforms) of each data set of each dataloader, inside of whatever wraps it."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if isinstance(config.get(name), Mapping):
            yield from _pipelines(config[name].get('dataset'), f'{name}.dataset')


def first_pipeline(config: Mapping) -> list:
    return next((pipeline for _, pipeline in pipelines_of(config)), [])


def _pipelines(dataset, key: str) -> Iterator[tuple[str, list]]:
    if not isinstance(dataset, Mapping):
        return
    if isinstance(dataset.get('pipeline'), list | tuple) and not dataset.get('dataset'):
        yield f'{key}.pipeline', [t for t in dataset['pipeline'] if isinstance(t, Mapping)]
    yield from _pipelines(dataset.get('dataset'), f'{key}.dataset')
    inner = dataset.get('datasets')
    for number, part in enumerate(inner if isinstance(inner, list | tuple) else []):
        yield from _pipelines(part, f'{key}.datasets.{number}')


def _order(pipeline: list, is_reversed: bool) -> str:
    loaded = None
    if (loader := _transform(pipeline, 'LoadImageFromFile')) is not None:
        color = loader.get('color_type', 'color')
        loaded = 'BGR' if color in ('color', 'color_ignore_orientation') else None
    elif (loader := _transform(pipeline, 'LoadMultiBandImage')) is not None:
        three = loader.get('channels') == 3 and not loader.get('bands')
        loaded = 'RGB' if three else None
    if loaded is None:
        return 'reversed' if is_reversed else 'as loaded'
    return {'BGR': 'RGB', 'RGB': 'BGR'}[loaded] if is_reversed else loaded


def _transform(pipeline: list, name: str) -> Mapping | None:
    for transform in pipeline:
        if str(transform.get('type')).split('.')[-1] == name:
            return transform
    return None


def _numbers(value) -> list[float] | None:
    """A number, or some, as a list; None for anything else."""
    values = [value] if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or not values:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return None
    return [round(float(v), 4) for v in values]
