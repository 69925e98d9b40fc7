from .autocast_optim_wrapper import AutocastOptimWrapper
from .beit_optim_wrapper_constructor import BEiTOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'BEiTOptimWrapperConstructor']
