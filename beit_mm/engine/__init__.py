from .hooks import CodebookGuardHook, CollapsedCodebookError, TokenizerScheduleHook
from .optim_wrappers import AutocastOptimWrapper, BEiTOptimWrapperConstructor

__all__ = [
    'AutocastOptimWrapper',
    'BEiTOptimWrapperConstructor',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'TokenizerScheduleHook',
]
