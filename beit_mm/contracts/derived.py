"""Arguments of one part that follow from another part of the model."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import Registry


def with_derived(config: Mapping, registry: Registry, known: Mapping[str, Any]) -> dict:
    """Return ``config`` with the arguments that its class derives, where they are left out.

    Args:
        config: Of a MIMNeck or MIMHead; its class says in ``derived`` what it takes.
        known: Values of the parts that are there; None is not known.
    """
    cls = registry.get(config['type']) if isinstance(config['type'], str) else config['type']
    derived = getattr(cls, 'derived', ())  # cls may be of another library
    missing = {name: known.get(name) for name in derived if name not in config}
    return {**config, **{name: value for name, value in missing.items() if value is not None}}
