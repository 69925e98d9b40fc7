"""What the constructor of a class takes, by its signature."""

import inspect
from collections.abc import Mapping
from typing import Any


def constructor_parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters of a constructor by name, and whether it takes other names as well.

    The parameters of a parent follow where a constructor takes ``**kwargs``.
    """
    found: dict[str, inspect.Parameter] = {}
    for parent in cls.__mro__:
        if '__init__' not in vars(parent):
            continue
        try:
            parameters = [*inspect.signature(parent.__init__).parameters.values()][1:]
        except (ValueError, TypeError):  # it has no signature
            return found, True
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        found = {**{p.name: p for p in named}, **found}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found, False
    return found, True


def with_defaults(cls: type, config: Mapping) -> dict[str, Any]:
    """Return ``config`` with the defaults of the constructor's parameters that it leaves out."""
    parameters = constructor_parameters(cls)[0].items()
    return {**{name: p.default for name, p in parameters if p.default is not p.empty}, **config}
