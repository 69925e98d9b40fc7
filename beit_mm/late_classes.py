"""Classes that bring half of torch along, loaded when they are used first.

``import mmengine.runner`` takes 1.9 s beyond torch, and 0.2 s without the base classes of an
optimizer, a model wrapper and a strategy that few trainings name, and without transformers, of
which MMEngine registers one optimizer.
"""

import importlib.util
import sys
from importlib import import_module
from operator import attrgetter
from types import ModuleType
from typing import Any

from beit_mm.import_hooks import HOOKS, WrappedLoader

# Module of MMEngine: its class, and the registry that has it.
CLASSES = {
    'mmengine.optim.optimizer.zero_optimizer': ('ZeroRedundancyOptimizer', 'OPTIMIZERS'),
    'mmengine.model.wrappers.fully_sharded_distributed': (
        *('MMFullyShardedDataParallel', 'MODEL_WRAPPERS'),
    ),
    'mmengine._strategy.fsdp': ('FSDPStrategy', 'STRATEGIES'),
}
BUILDER = 'mmengine.optim.optimizer.builder'  # registers the optimizers of many packages


def put_off_classes() -> None:
    """Load the classes above when they are called, derived or looked into."""
    for module in CLASSES:
        HOOKS.around(module, LateModuleLoader)
    HOOKS.around(BUILDER, BuilderLoader)


class LateClass:
    """Stands for a class in its module and in a registry of MMEngine until somebody uses it."""

    def __init__(self, module: str, name: str, registry: str):
        self.__module__, self.__name__, self.__qualname__ = module, name, name
        self.registry: dict = attrgetter(f'{registry}.module_dict')(
            import_module('mmengine.registry')
        )
        self.registry[name] = self
        self.loaded: type | None = None

    def load(self) -> type:
        """Import the module and return its class, which is in the registry from then on."""
        if self.loaded is None:
            module, name = self.__module__, self.__name__
            self.registry.pop(name, None)  # many modules register their class themselves
            if HOOKS.forget(module):
                del sys.modules[module]
            self.loaded = self.registry[name] = attrgetter(name)(import_module(module))
        return self.loaded

    def __call__(self, *args, **kwargs) -> Any:
        return self.load()(*args, **kwargs)

    def __mro_entries__(self, bases: tuple) -> tuple[type]:
        return (self.load(),)

    def __instancecheck__(self, instance: Any) -> bool:  # nothing is one before it is loaded
        return self.loaded is not None and isinstance(instance, self.loaded)

    def __subclasscheck__(self, cls: type) -> bool:
        return self.loaded is not None and issubclass(cls, self.loaded)

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)
        return attrgetter(name)(self.load())


class LateModuleLoader(WrappedLoader):
    """Puts a LateClass into a module instead of running it."""

    def exec_module(self, module: ModuleType) -> None:
        name, registry = CLASSES[module.__name__]
        vars(module)[name] = LateClass(module.__name__, name, registry)


class BuilderLoader(WrappedLoader):
    """Runs MMEngine's module without transformers, whose Adafactor it registers."""

    def exec_module(self, module: ModuleType) -> None:
        if 'transformers' in sys.modules or importlib.util.find_spec('transformers') is None:
            super().exec_module(module)
            return
        sys.modules['transformers'] = None  # an import of it is an ImportError
        try:
            super().exec_module(module)
        finally:
            del sys.modules['transformers']
        LateClass('transformers', 'Adafactor', 'OPTIMIZERS')
