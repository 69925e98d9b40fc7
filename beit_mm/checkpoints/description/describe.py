from collections.abc import Mapping
from typing import Any

import torch.nn as nn
from torch import Tensor

from beit_mm.checkpoints.description.architecture import ODD, architecture_of, task_of_model
from beit_mm.checkpoints.description.images import images_of, preprocessor_settings, white_of
from beit_mm.checkpoints.description.preprocessing import preprocessing_of
from beit_mm.checkpoints.description.stored import FORMAT
from beit_mm.checkpoints.description.versions import code_state, versions
from beit_mm.contracts import Target
from beit_mm.contracts.config_walk import first_pipeline
from beit_mm.contracts.digest import module_sha256, options_of, plain, weights_sha256
from beit_mm.contracts.target import tokenizer_of

# Facts that only the model that loads a checkpoint has to know of itself.
NOT_STORED = dict(images='order_key', backbone='adapts_channels', tokenizer='bases')


def describe(
    model: nn.Module,
    config: Mapping,
    state: Mapping[str, Tensor],
    digests: Mapping[str, str] | None = None,
    dataset_meta: Mapping | None = None,
) -> dict:
    """Return the description of a checkpoint, in plain values.

    Args:
        config: Of the whole run.
        state: The weights that are saved, which may be an average of the model's.
        digests: Those of the tokenizer, where they are known.
        dataset_meta: ``classes`` and ``palette`` of the training data.

    Returns:
        ``format``, what :func:`inference_facts` returns, ``model`` (class), ``versions``, ``code``
        (commit, and whether files differ from it), ``images`` (see :func:`images_of`), ``backbone``
        (type, patch_size, img_size (H, W), in_channels) and ``tokenizer``: type, vocab_size,
        stride, in_channels, options, images, ``sha256`` of class, options and weights (as in a
        token cache) and ``weights_sha256``. What the model does not have is left out.
    """
    parts = facts_of(model, config, dataset_meta)
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


def facts_of(
    model: nn.Module, config: Mapping, dataset_meta: Mapping | None = None
) -> dict[str, Any]:
    """Return the parts of a description that follow from model and config alone."""
    parts = here_of(model, config)
    for part, name in NOT_STORED.items():
        parts.get(part, {}).pop(name, None)
    return parts | inference_facts(model, config, dataset_meta)


def inference_facts(
    model: nn.Module, config: Mapping, dataset_meta: Mapping | None = None
) -> dict[str, Any]:
    """Return what is needed to build a model again and to feed it.

    They are ``task`` ('tokenizer', 'pretraining', 'classification', 'segmentation' or 'backbone'),
    ``architecture`` (see :func:`architecture_of`), ``classes`` and ``palette``, and
    ``preprocessing``: ``pipeline`` (from the file to the preprocessor), ``size`` and ``token_size``
    (H, W), ``channels`` and ``range``, the values of black and white before normalization.
    """
    task = task_of_model(model)
    if task is None:
        return {}
    found = dict(task=task, architecture=architecture_of(model, config))
    meta = dataset_meta or {}
    for name in ('classes', 'palette'):
        if meta.get(name):
            found[name] = _plain_list(meta[name])
    try:
        steps = preprocessing_of(config)
    except ODD:
        return _known(**found)
    children = dict(model.named_children())
    backbone = _backbone_facts(model if task == 'backbone' else children.get('backbone')) or {}
    tokenizer = tokenizer_of(model)[0]
    channels = tokenizer.in_channels if task == 'tokenizer' else backbone.get('in_channels')
    settings = preprocessor_settings(children.get('data_preprocessor'))
    facts = _known(channels=channels, size=backbone.get('img_size'))
    pipeline = first_pipeline(config)
    facts |= dict(range=[0, white_of(settings, pipeline)]) | (steps or {})
    return _known(**found, preprocessing=facts)


def _plain_list(values) -> list:
    return [_plain_list(v) if isinstance(v, list | tuple) else v for v in values]


def here_of(model: nn.Module, config: Mapping) -> dict[str, Any]:
    """Return the facts of a built model, see :func:`join_facts`."""
    children = dict(model.named_children())
    found, prefix = tokenizer_of(model)
    tokenizer = None
    if found is not None:
        numbers = (found.vocab_size, found.stride, found.in_channels)
        tokenizer = tokenizer_facts(type(found), _tokenizer_config(config, prefix), *numbers)
    return join_facts(
        config,
        model=type(model).__name__,
        settings=preprocessor_settings(children.get('data_preprocessor')),
        backbone=_backbone_facts(children.get('backbone')),
        tokenizer=tokenizer,
        is_tokenizer=not prefix,
    )


def join_facts(
    config: Mapping,
    model: str,
    settings: Mapping | None,
    backbone: dict | None,
    tokenizer: dict | None,
    is_tokenizer: bool,
) -> dict[str, Any]:
    """Return the facts by which a model is compared with a checkpoint.

    They are those of :func:`describe` without digests and versions, and ``images.order_key`` (the
    preprocessor's name for the order of the channels), ``backbone.adapts_channels`` and
    ``tokenizer.bases`` (names of its class and of the parents).

    Args:
        config: Of the whole run.
        model: Name of the class.
        settings: As :func:`images_of` takes them.
        backbone: ``patch_size``, ``in_channels``, ``adapts_channels`` and more.
        tokenizer: See :func:`tokenizer_facts`.
        is_tokenizer: The tokenizer is the model itself.
    """
    pipeline = first_pipeline(config)
    images = images_of(settings, pipeline)
    if images is not None and 'to_rgb' in settings:
        images['order_key'] = 'to_rgb'
    if tokenizer is not None:
        seen = images if is_tokenizer else images_of(settings, pipeline, tokens=True)
        tokenizer = _known(**tokenizer, images=seen)
    return _known(model=model, images=images, backbone=backbone, tokenizer=tokenizer)


def tokenizer_facts(
    cls: type[Target],
    config: Mapping,
    vocab_size: int | None,
    stride: int | None,
    in_channels: int | None,
) -> dict[str, Any]:
    """Return what is compared of a tokenizer; ``config`` has its options."""
    return dict(
        type=cls.__name__,
        bases=[parent.__name__ for parent in cls.__mro__],
        vocab_size=vocab_size,
        stride=stride,
        in_channels=in_channels,
        options=plain(options_of(config)),
    )


def _tokenizer_config(config: Mapping, prefix: str) -> Mapping:
    part = config.get('model')
    if prefix and isinstance(part, Mapping):
        part = part.get('tokenizer')
    return part if isinstance(part, Mapping) else {}


def _backbone_facts(backbone: nn.Module | None) -> dict | None:
    """Return what is compared of a backbone, which may be of another library."""
    if backbone is None:
        return None
    names = ('patch_size', 'grid', 'img_size', 'in_channels', 'adapt_channels')
    patch, grid, size, channels, adapt = (getattr(backbone, name, None) for name in names)
    patch = patch if isinstance(patch, int) else None
    if patch and isinstance(grid, tuple):
        size = [side * patch for side in grid]
    return _known(
        type=type(backbone).__name__,
        patch_size=patch,
        img_size=list(size) if isinstance(size, list | tuple) else None,
        in_channels=channels,
        adapts_channels=adapt is not None,
    )


def _known(**values) -> dict:
    return {name: value for name, value in values.items() if value is not None}
