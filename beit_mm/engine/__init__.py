from .hooks import TokenizerScheduleHook
from .optim_wrappers import AutocastOptimWrapper, BEiTOptimWrapperConstructor

__all__ = ['AutocastOptimWrapper', 'BEiTOptimWrapperConstructor', 'TokenizerScheduleHook']
