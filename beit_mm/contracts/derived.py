"""Arguments of one part of a model that follow from another part."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn as nn
from mmengine.registry import Registry

from beit_mm.contracts.backbone import Backbone
from beit_mm.contracts.constructor import class_of, constructor_parameters
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.target import is_target_class

UNKNOWN = dict(
    dims='model.backbone does not derive from beit_mm.contracts.Backbone',
    num_heads='model.backbone does not say its num_heads',
    depth='model.backbone does not say its num_layers',
    vocab_size='model.tokenizer makes no token ids',
    target_dims='model.tokenizer makes no continuous targets',
)


def with_derived(
    part: str, config: Mapping, registry: Registry, known: Mapping[str, Any]
) -> dict[str, Any]:
    """Return ``config`` with the arguments that its class derives, where they are left out.

    Args:
        part: ``neck`` or ``head``.
        config: Of a MIMNeck or MIMHead; its class says in ``derived`` what it takes.
        known: Values of the parts that are there, or functions that find them; None is not known.

    Raises:
        UserError: The class needs a value that is left out and not known.
    """
    found, cls = dict(config), class_of(config, registry)
    for name in getattr(cls, 'derived', ()):  # it may be foreign
        if name in found:
            continue
        value = known.get(name)
        value = value() if callable(value) else value
        if value is not None:
            found[name] = value
        elif _is_required(cls, name):
            reason = UNKNOWN.get(name, 'no other part says it')
            raise UserError(
                f'model.{part}.{name} is left out, but {reason}; set model.{part}.{name}, or '
                'choose parts that fit together'
            )
    return found


def facts_of_backbone(backbone: nn.Module) -> dict[str, int | None]:
    """Return ``dims``, ``num_heads`` and ``depth``; nothing is known of a foreign backbone."""
    if not isinstance(backbone, Backbone):
        return dict(dims=None, num_heads=None, depth=None)
    return dict(dims=backbone.embed_dims, num_heads=backbone.num_heads, depth=backbone.num_layers)


def facts_of_target(config: Mapping, registry: Registry) -> dict[str, Callable[[], int | None]]:
    """Return how to find ``vocab_size`` and ``target_dims`` of what ``config`` will build.

    Where neither the config nor the class says it, a target is built to be asked.
    """
    return {
        name: partial(_ask_target, name, config, registry) for name in ('vocab_size', 'target_dims')
    }


def check_dims(part: str, own: int, dims: int | None) -> None:
    """Raise a UserError unless ``model.{part}.dims`` are the backbone's; None is not known."""
    if dims not in (None, own):
        raise UserError(
            f'model.{part}.dims={own}, but the backbone gives {dims} channels; set '
            f'model.{part}.dims={dims}, or leave it out'
        )


def _ask_target(name: str, config: Mapping, registry: Registry) -> int | None:
    cls = class_of(config, registry)
    said = getattr(cls, f'{name}_of')(config) if is_target_class(cls) else None
    if said is not None:
        return said
    with torch.random.fork_rng([]):  # of the CPU: the same weights follow whoever asks
        target = registry.build({key: config[key] for key in config if key != 'init_cfg'})
    return getattr(target, name, None)  # what is no target has none


def _is_required(cls: type, name: str) -> bool:
    parameter = constructor_parameters(cls)[0].get(name)
    return parameter is not None and parameter.default is parameter.empty
