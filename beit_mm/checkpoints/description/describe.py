from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from torch import Tensor

from beit_mm.checkpoints.description.images import first_pipeline, images_of, preprocessor_settings
from beit_mm.checkpoints.description.stored import FORMAT
from beit_mm.checkpoints.description.versions import code_state, versions
from beit_mm.contracts.digest import module_sha256, options_of, plain, weights_sha256


def describe(
    model: nn.Module,
    config: Mapping,
    state: Mapping[str, Tensor],
    digests: Mapping[str, str] | None = None,
) -> dict:
    """What a checkpoint says of itself, in plain values.

    ``format``, ``model`` (its class), ``versions``, ``code`` (commit and whether files are
    changed), ``images`` (of :func:`~beit_mm.checkpoints.description.images.images_of`), ``backbone`` (type,
    patch_size, img_size (H, W), in_channels) and ``tokenizer``: type, vocab_size, stride,
    in_channels, options, images, ``sha256`` of class, options and weights (as a token cache has it)
    and ``weights_sha256`` of the weights alone. What the model doesn't have is left out.

    Args:
        config: Of the whole run.
        state: The weights that are saved, which may be an average of the model's.
        digests: Those of the tokenizer, where they are known.
    """
    parts = parts_of(model, config)
    tokenizer, prefix = tokenizer_of(model)
    if tokenizer is not None:
        if digests is None:
            own = {n[len(prefix) :]: t for n, t in state.items() if n.startswith(prefix)}
            digests = dict(
                sha256=module_sha256(tokenizer, _tokenizer_config(config, prefix), own),
                weights_sha256=weights_sha256(own),
            )
        parts['tokenizer'].update(digests)
    return dict(format=FORMAT, **parts, versions=versions(), **_known(code=code_state()))


def parts_of(model: nn.Module, config: Mapping) -> dict[str, Any]:
    """Of a built model: ``model``, ``images``, ``backbone`` and ``tokenizer``, without digests."""
    settings = preprocessor_settings(getattr(model, 'data_preprocessor', None))
    pipeline = first_pipeline(config)
    images = images_of(settings, pipeline)
    parts = dict(model=type(model).__name__, **_known(images=images, backbone=_backbone_of(model)))
    tokenizer, prefix = tokenizer_of(model)
    if tokenizer is not None:
        parts['tokenizer'] = _known(
            type=type(tokenizer).__name__,
            vocab_size=tokenizer.vocab_size,
            stride=tokenizer.stride,
            in_channels=getattr(tokenizer, 'in_channels', None),
            options=plain(options_of(_tokenizer_config(config, prefix))),
            images=images_of(settings, pipeline, tokens=True) if prefix else images,
        )
    return parts


def here_of(model: nn.Module, config: Mapping) -> dict[str, Any]:
    """:func:`parts_of`, and what else a comparison with a checkpoint asks of the model at hand.

    ``backbone.adapts_channels``, ``tokenizer.bases`` (names of its class and of its parents) and
    ``images.order_key``, the preprocessor's name for the order of the channels.
    """
    parts = parts_of(model, config)
    if 'backbone' in parts:
        adapts = getattr(model.backbone, 'adapt_channels', None)
        parts['backbone']['adapts_channels'] = adapts is not None
    if 'tokenizer' in parts:
        bases = [parent.__name__ for parent in type(tokenizer_of(model)[0]).__mro__]
        parts['tokenizer']['bases'] = bases
    if hasattr(getattr(model, 'data_preprocessor', None), 'to_rgb') and 'images' in parts:
        parts['images']['order_key'] = 'to_rgb'
    return parts


def tokenizer_of(model: nn.Module) -> tuple[nn.Module | None, str]:
    """(the tokenizer of a model, the prefix of its tensors); itself, where it is one."""
    for part, prefix in ((model, ''), (getattr(model, 'tokenizer', None), 'tokenizer.')):
        if all(hasattr(part, name) for name in ('encode', 'vocab_size', 'stride')):
            return part, prefix
    return None, ''


def _tokenizer_config(config: Mapping, prefix: str) -> Mapping:
    part = config.get('model')
    if prefix and isinstance(part, Mapping):
        part = part.get('tokenizer')
    return part if isinstance(part, Mapping) else {}


def _backbone_of(model: nn.Module) -> dict | None:
    backbone = getattr(model, 'backbone', None)
    if backbone is None:
        return None
    patch, grid = getattr(backbone, 'patch_size', None), getattr(backbone, 'grid', None)
    size = getattr(backbone, 'img_size', None)
    if isinstance(patch, int) and isinstance(grid, tuple):
        size = [side * patch for side in grid]
    return _known(
        type=type(backbone).__name__,
        patch_size=patch if isinstance(patch, int) else None,
        img_size=list(size) if isinstance(size, list | tuple) else None,
        in_channels=getattr(backbone, 'in_channels', None),
    )


def _known(**values) -> dict:
    return {name: value for name, value in values.items() if value is not None}
