"""What the constructor of a class takes, by its signature."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from mmengine.registry import Registry


def constructor_parameters(cls: type) -> tuple[dict[str, inspect.Parameter], bool]:
    """Return the parameters of a constructor by name, and whether it takes other names as well.

    The parameters of a parent follow where a constructor takes ``**kwargs``. One that does more
    with them than hand them to a parent's constructor may take any name.
    """
    found: dict[str, inspect.Parameter] = {}
    takes_any = False
    for parent in cls.__mro__:
        if '__init__' not in vars(parent):
            continue
        try:
            parameters = [*inspect.signature(parent.__init__).parameters.values()][1:]
        except (ValueError, TypeError):  # it has no signature
            return found, True
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        found = {**{p.name: p for p in named}, **found}
        rest = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            return found, takes_any
        takes_any |= not _hands_on(parent.__init__, rest)
    return found, True


@cache
def _hands_on(constructor: Callable, name: str) -> bool:
    """Return whether all that is done with ``**name`` is ``super().__init__(**name)``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except (OSError, TypeError, SyntaxError):
        return False
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    inits = [call for call in calls if getattr(call.func, 'attr', '') == '__init__']
    handed = [keyword.value for call in inits for keyword in call.keywords if keyword.arg is None]
    uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == name]
    return bool(uses) and all(use in handed for use in uses)


def class_of(config: Mapping, registry: Registry) -> Any:
    """Return the class that the ``type`` of a config names, or is."""
    name = config.get('type')
    return registry.get(name) if isinstance(name, str) else name


def with_defaults(cls: type, config: Mapping) -> dict[str, Any]:
    """Return ``config`` with the defaults of the constructor's parameters that it leaves out."""
    parameters = constructor_parameters(cls)[0].items()
    return {**{name: p.default for name, p in parameters if p.default is not p.empty}, **config}
