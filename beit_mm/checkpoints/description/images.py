"""The normalization of a run, in one form for the preprocessors of all libraries."""

from collections.abc import Mapping

import torch.nn as nn
from torch import Tensor

from beit_mm.contracts.config_walk import find_transform, is_number

REVERSALS = ('bgr_to_rgb', 'to_rgb', 'rgb_to_bgr', '_channel_conversion')
WHITE_8_BIT, WHITE_16_BIT = 255.0, 65535.0


def preprocessor_settings(preprocessor: nn.Module | None) -> dict | None:
    """Return what :func:`images_of` asks of a built preprocessor.

    Returns:
        ``mean``, ``std``, ``token_scale`` and those of :data:`REVERSALS` that it has. ``mean`` is
        None where it could normalize, but does not. None if it has no normalization.
    """
    if preprocessor is None:
        return None
    own = {**vars(preprocessor), **dict(preprocessor.named_buffers())}
    known = isinstance(own.get('mean'), Tensor)
    if not known and '_enable_normalize' not in own:
        return None
    found = {name: bool(own[name]) for name in REVERSALS if name in own}
    for name in ('mean', 'std'):
        found[name] = own[name].flatten().tolist() if known else None
    return dict(found, token_scale=own.get('token_scale'))


def images_of(settings: Mapping | None, pipeline: list, tokens: bool = False) -> dict | None:
    """Return what the network sees of an image, or None if that is not known.

    Args:
        settings: Of the preprocessor, as :func:`preprocessor_settings` or its config has them.
        pipeline: Configs of the transforms that come before.
        tokens: The view of the tokenizer, which ``token_scale`` scales to [0, 1].

    Returns:
        ``mean`` and ``std`` in pixel units, ``channel_order`` ('RGB' or 'BGR' where the pipeline
        has a known loader, else 'as loaded' or 'reversed') and ``range``, the values of [black,
        white] after the normalization, see :func:`white_of`.
    """
    if settings is None:
        return None
    mean, std = _numbers(settings.get('mean')), _numbers(settings.get('std'))
    turns = sum(bool(settings.get(name)) for name in REVERSALS[:3])
    turns = turns or int(bool(settings.get(REVERSALS[3])))
    if tokens:
        scale = settings.get('token_scale')
        if not isinstance(scale, int | float):
            return None
        mean, std = [0.0], [float(scale)]
    elif mean is None or std is None:
        mean, std = [0.0], [1.0]
        if normalize := find_transform(pipeline, 'Normalize'):
            mean, std = (_numbers(normalize[1].get(name)) for name in ('mean', 'std'))
            turns += bool(normalize[1].get('to_rgb', True))
            if mean is None or std is None:
                return None
    if min(std) <= 0:
        return None
    is_known = (mean, std) != ([0.0], [1.0])
    white = white_of(dict(settings, mean=mean, std=std) if is_known else settings, pipeline)
    pairs = list(zip(mean, std, strict=False))
    return dict(
        mean=mean,
        std=std,
        channel_order=_channel_order(pipeline, is_reversed=turns % 2 == 1),
        range=[
            round(min((0 - m) / s for m, s in pairs), 4),
            round(max((white - m) / s for m, s in pairs), 4),
        ],
    )


def white_of(settings: Mapping | None, pipeline: list) -> float:
    """Return the pixel value of white, as far as the loader and the preprocessor tell it.

    OpenCV's colors have 8 bits, a window its width. ``token_scale`` says it, and so does ``std``
    where ``mean`` is 0; other normalizations tell 8 from 16 bits and from images in [0, 1].
    """
    settings = settings or {}
    loader = find_transform(pipeline, 'LoadImageFromFile')
    if loader and loader[1].get('color_type') != 'unchanged':
        return WHITE_8_BIT
    loader = find_transform(pipeline, 'LoadMultiBandImage')
    if loader and loader[1].get('window'):
        return loader[1]['window'][1] - loader[1]['window'][0]
    normalize = find_transform(pipeline, 'Normalize')
    values = settings if settings.get('mean') or not normalize else normalize[1]
    mean, std = _numbers(values.get('mean')), _numbers(values.get('std'))
    if mean is None or std is None:
        return WHITE_8_BIT
    scale = settings.get('token_scale')
    if set(mean) == {0.0} and len(set(std)) == 1:
        return std[0]
    if isinstance(scale, int | float) and scale != WHITE_8_BIT:
        return float(scale)
    most = max(mean + std)
    return WHITE_16_BIT if most > WHITE_8_BIT else WHITE_8_BIT if most > 1 else 1.0


def _channel_order(pipeline: list, is_reversed: bool) -> str:
    loaded = None
    if loader := find_transform(pipeline, 'LoadImageFromFile'):
        color = loader[1].get('color_type', 'color')
        loaded = 'BGR' if color in ('color', 'color_ignore_orientation') else None
    elif loader := find_transform(pipeline, 'LoadMultiBandImage'):
        three = loader[1].get('channels') == 3 and not loader[1].get('bands')
        loaded = 'RGB' if three else None
    if loaded is None:
        return 'reversed' if is_reversed else 'as loaded'
    return {'BGR': 'RGB', 'RGB': 'BGR'}[loaded] if is_reversed else loaded


def _numbers(value) -> list[float] | None:
    """Return a number or several as a list, None for anything else."""
    values = [value] if isinstance(value, int | float) else value
    if not isinstance(values, list | tuple) or not values:
        return None
    if not all(map(is_number, values)):
        return None
    return [round(float(v), 4) for v in values]
