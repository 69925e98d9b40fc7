"""BEiT from the images you have: visual tokenizer, masked image modeling, fine-tuning.

The import of this package brings neither torch nor MMEngine along. What has to be done about them
is done when somebody imports them.
"""

from importlib import import_module

from beit_mm.import_hooks import HOOKS, HushedLoader
from beit_mm.late_classes import put_off_classes
from beit_mm.named_configs import PACKAGE, link_checkout

__version__ = '0.1.0'
__all__ = ['__version__', 'load_model']


def _call(module: str, function: str):
    def action() -> None:
        vars(import_module(f'beit_mm.{module}'))[function]()

    return action


HOOKS.before('cv2', _call('opencv_limit', 'limit_opencv'))
# What mmpretrain imports would fail without them.
HOOKS.before('torchvision', _call('torchvision_cpu', 'declare_missing_ops'))
# Whatever MMEngine loads is read without running code.
HOOKS.after('mmengine.runner.checkpoint', _call('safe_loading', 'register_loaders'))
HOOKS.after('mmengine.config', _call('named_configs', 'register_configs'))
for name in HushedLoader.modules:
    HOOKS.around(name, HushedLoader)
put_off_classes()
link_checkout(PACKAGE)


def __getattr__(name: str):
    """Import :func:`load_model` and ``beit_mm.checkpoints`` when they are asked for first."""
    if name == 'load_model':
        return import_module('beit_mm.apis').load_model
    if name == 'checkpoints':
        return import_module('beit_mm.checkpoints')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
