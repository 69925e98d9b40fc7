"""Arguments of one part of a model that follow from another part."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch.nn as nn
from mmengine.registry import Registry

from beit_mm.contracts.backbone import Backbone
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.target import is_target_class


def with_derived(config: Mapping, registry: Registry, known: Mapping[str, Any]) -> dict:
    """Return ``config`` with the arguments that its class derives, where they are left out.

    Args:
        config: Of a MIMNeck or MIMHead; its class says in ``derived`` what it takes.
        known: Values of the parts that are there, or functions that find them; None is not known.
    """
    found = dict(config)
    for name in getattr(_class_of(config, registry), 'derived', ()):  # it may be foreign
        value = known.get(name) if name not in found else None
        value = value() if callable(value) else value
        if value is not None:
            found[name] = value
    return found


def facts_of_backbone(backbone: nn.Module) -> dict[str, int | None]:
    """Return ``dims``, ``num_heads`` and ``depth``; nothing is known of a foreign backbone."""
    if not isinstance(backbone, Backbone):
        return dict(dims=None, num_heads=None, depth=None)
    return dict(dims=backbone.embed_dims, num_heads=backbone.num_heads, depth=backbone.num_layers)


def facts_of_target(config: Mapping, registry: Registry) -> dict[str, Callable[[], int | None]]:
    """Return how to find ``vocab_size`` and ``target_dims`` of what ``config`` will build."""
    cls = _class_of(config, registry)
    if not is_target_class(cls):
        return {}
    return dict(
        vocab_size=partial(cls.vocab_size_of, config),
        target_dims=partial(cls.target_dims_of, config),
    )


def check_dims(part: str, own: int, dims: int | None) -> None:
    """Raise a UserError unless ``model.{part}.dims`` are the backbone's; None is not known."""
    if dims not in (None, own):
        raise UserError(
            f'model.{part}.dims={own}, but the backbone gives {dims} channels; set '
            f'model.{part}.dims={dims}, or leave it out'
        )


def _class_of(config: Mapping, registry: Registry) -> Any:
    name = config.get('type')
    return registry.get(name) if isinstance(name, str) else name
