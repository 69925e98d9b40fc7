"""Weights that stay as they were drawn."""

from collections.abc import Iterator, Mapping
from typing import Any

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import model_of
from beit_mm.contracts.starting_weights import pretrained_steps

DEFAULT = 'DefaultOptimWrapperConstructor'


def check_weights(runner) -> Iterator[Finding]:
    """Yield warnings of a frozen backbone that nothing fills, and rates that no weight has."""
    model = model_of(runner)
    names = [name for name, _ in model.named_parameters()]
    yield from _rates(runner.cfg.get('optim_wrapper'), names)
    backbone = dict(model.named_children()).get('backbone')
    weights = [] if backbone is None else [*backbone.parameters()]
    if not weights or any(weight.requires_grad for weight in weights):
        return
    if runner._load_from or runner._resume:
        return
    parts = [vars(part) for part in (model, backbone)]
    given = [part.get('init_cfg') or part.get('_init_cfg') for part in parts]
    if not any(map(pretrained_steps, given)):
        yield Finding.warning(
            'model.backbone',
            'is frozen with random weights: neither load_from nor init_cfg=dict(type='
            "'Pretrained', checkpoint=...) fills it",
        )


def _rates(wrapper: Any, names: list[str]) -> Iterator[Finding]:
    """Find keys of MMEngine's constructor that name no parameter, but a learning rate for it."""
    if not isinstance(wrapper, Mapping) or wrapper.get('constructor') not in (None, DEFAULT):
        return
    keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    for key, given in keys.items():
        is_rate = isinstance(given, Mapping) and given.get('lr_mult', 1) != 1
        if is_rate and not any(key in name for name in names):
            place = f'optim_wrapper.paramwise_cfg.custom_keys.{key}'
            message = f'no parameter has this in its name, {names[0]} for example'
            yield Finding.warning(place, message)
