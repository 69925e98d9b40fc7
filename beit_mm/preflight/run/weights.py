"""Weights that stay as they were drawn."""

from collections.abc import Iterator

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import model_of
from beit_mm.contracts.starting_weights import pretrained_steps


def check_weights(runner) -> Iterator[Finding]:
    """Yield a warning if the whole backbone is frozen, and no checkpoint fills it."""
    model = model_of(runner)
    backbone = dict(model.named_children()).get('backbone')
    weights = [] if backbone is None else [*backbone.parameters()]
    if not weights or any(weight.requires_grad for weight in weights):
        return
    if runner._load_from or runner._resume:
        return
    parts = [vars(part) for part in (model, backbone)]
    given = [part.get('init_cfg') or part.get('_init_cfg') for part in parts]
    if not any(map(pretrained_steps, given)):
        yield Finding(
            'warning',
            'model.backbone',
            'is frozen with random weights: neither load_from nor init_cfg=dict(type='
            "'Pretrained', checkpoint=...) fills it",
        )
