"""BEiT from the images you have: visual tokenizer, masked image modelling, fine-tuning."""

from .torchvision_cpu import declare_missing_ops

__version__ = '0.1.0'
__all__ = ['__version__']

declare_missing_ops()  # before anything imports mmpretrain, whose models import torchvision
