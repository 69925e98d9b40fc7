"""BEiT from the images you have: visual tokenizer, masked image modeling, fine-tuning."""

from beit_mm.torchvision_cpu import declare_missing_ops

declare_missing_ops()  # before anything imports mmpretrain, whose models import torchvision

from beit_mm.checkpoints import register_loaders  # noqa: E402

register_loaders()  # whatever MMEngine loads from now on is read without running code

__version__ = '0.1.0'
__all__ = ['__version__']
