"""Weights that stay as they were drawn."""

from collections.abc import Iterator

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import model_of


def check_weights(runner) -> Iterator[Finding]:
    """Yield a warning if the whole backbone is frozen, and no checkpoint fills it."""
    model = model_of(runner)
    backbone = dict(model.named_children()).get('backbone')
    weights = [] if backbone is None else [*backbone.parameters()]
    if not weights or any(weight.requires_grad for weight in weights):
        return
    if runner._load_from or runner._resume:
        return
    steps = [step for part in (model, backbone) for step in _steps(part)]
    if not any(step.get('type') == 'Pretrained' for step in steps):
        yield Finding(
            'warning',
            'model.backbone',
            'is frozen with random weights: neither load_from nor init_cfg=dict(type='
            "'Pretrained', checkpoint=...) fills it",
        )


def _steps(module) -> list[dict]:
    given = vars(module).get('init_cfg') or vars(module).get('_init_cfg')
    steps = given if isinstance(given, list | tuple) else [given]
    return [step for step in steps if isinstance(step, dict)]
