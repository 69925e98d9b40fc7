from .hooks import (
    AtomicCheckpointHook,
    CodebookGuardHook,
    CollapsedCodebookError,
    EtaTimerHook,
    GracefulStopHook,
    NonFiniteError,
    NonFiniteGuardHook,
    RunRecordHook,
    TokenizerScheduleHook,
)
from .loops import ResumableEpochLoop, ResumableIterLoop
from .optim_wrappers import AutocastOptimWrapper, BEiTOptimWrapperConstructor
from .storage import AtomicLocalBackend

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'AutocastOptimWrapper',
    'BEiTOptimWrapperConstructor',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'EtaTimerHook',
    'GracefulStopHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'RunRecordHook',
    'TokenizerScheduleHook',
]
