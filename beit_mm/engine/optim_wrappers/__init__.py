from beit_mm.engine.optim_wrappers.autocast_optim_wrapper import AutocastOptimWrapper
from beit_mm.engine.optim_wrappers.beit_optim_wrapper_constructor import BEiTOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'BEiTOptimWrapperConstructor']
