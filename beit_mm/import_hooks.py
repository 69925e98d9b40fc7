"""What happens when another package is imported, so that ``import beit_mm`` needs none of them."""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from io import StringIO
from operator import attrgetter
from types import ModuleType
from typing import Any

Action = Callable[[], object]


class ImportHooks(MetaPathFinder):
    """Runs actions before or after the import of a module; these have to bear repetition."""

    def __init__(self):
        self._before: dict[str, Action] = {}
        self._around: dict[str, Callable[[Loader], Loader]] = {}
        self._found: set[str] = set()  # looked for right now

    def before(self, name: str, action: Action) -> None:
        """Call ``action`` before the module ``name`` is imported, now if that has happened."""
        self._before[name] = action
        if name in sys.modules:
            action()

    def after(self, name: str, action: Action) -> None:
        """Call ``action`` after the module ``name`` is imported, now if that has happened."""
        self._around[name] = lambda loader: ThenLoader(loader, action)
        if name in sys.modules:
            action()

    def around(self, name: str, wrap: Callable[[Loader], Loader]) -> None:
        """Load the module ``name`` with what ``wrap`` makes of its loader, if it is not loaded."""
        self._around[name] = wrap

    def forget(self, name: str) -> bool:
        """Load the module ``name`` as it is from now on; return whether that is a change."""
        return self._around.pop(name, None) is not None

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        if name in self._found:
            return None
        if name in self._before:
            self._before[name]()
        if name not in self._around:
            return None
        self._found.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._found.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = self._around[name](spec.loader)
        return spec


class WrappedLoader(Loader):
    """A loader that is another one in all that it does not define."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def __getattr__(self, name: str) -> Any:  # sources, resources
        return attrgetter(name)(self.loader)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)


class ThenLoader(WrappedLoader):
    """Calls ``action`` when the module is loaded."""

    def __init__(self, loader: Loader, action: Action):
        super().__init__(loader)
        self.action = action

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        self.action()


class HushedLoader(WrappedLoader):
    """Runs a module without what it says of packages that nobody has asked for."""

    modules = (
        *('mmseg.datasets', 'mmseg.datasets.transforms', 'mmpretrain.datasets'),
        *('mmcv.cnn.bricks.transformer', 'mmseg.models.losses.cross_entropy_loss'),
        'mmseg.models.decode_heads.decode_head',
    )
    printed = ('Could not import OneDL',)
    warned = 'Fail to import ``MultiScaleDeformableAttention``'
    # Said of each loss and head of mmseg, of defaults and of what is meant.
    always = ('Default ``avg_non_ignore`` is False', 'For binary segmentation, we suggest')

    def exec_module(self, module: ModuleType) -> None:
        with redirect_stdout(StringIO()) as text, warnings.catch_warnings():
            warnings.filterwarnings('ignore', self.warned)
            super().exec_module(module)
        for text_of_warning in self.always:
            warnings.filterwarnings('ignore', text_of_warning)
        for line in text.getvalue().splitlines():
            if line not in self.printed:
                print(line)


HOOKS = ImportHooks()
sys.meta_path.insert(0, HOOKS)
