"""Optimizers of torch without the compiler, which takes longer to import than torch itself."""

import functools
import sys
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch.optim import Optimizer

COMPILER = 'torch._dynamo'


def spare_compiler() -> None:
    """Let the optimizers of torch be made and step without importing ``torch._dynamo`` (1.4 s).

    torch imports it to mark their methods as not to be compiled, and to interrupt the graph around
    a step. Neither does anything in a training that compiles no optimizer. Do not call it in one
    that does.
    """
    if COMPILER in sys.modules:
        return
    for cls in _with_subclasses(Optimizer):
        for name, method in list(vars(cls).items()):
            if not isinstance(method, FunctionType) or '__wrapped__' not in vars(method):
                continue
            function = vars(method)['__wrapped__']
            made_by = method.__code__.co_qualname
            if made_by == '_disable_dynamo.<locals>.inner':
                vars(function).setdefault('__dynamo_disable', function)
            elif made_by == '_use_grad_for_differentiable.<locals>._use_grad':
                setattr(cls, name, _without_graph_break(function))


def _with_subclasses(cls: type) -> Iterator[type]:
    yield cls
    for child in cls.__subclasses__():
        yield from _with_subclasses(child)


def _without_graph_break(function: Callable) -> Callable:
    @functools.wraps(function)
    def step(self: Optimizer, *args, **kwargs) -> Any:
        with torch.set_grad_enabled(self.defaults['differentiable']):
            return function(self, *args, **kwargs)

    return step
