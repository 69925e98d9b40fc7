from .hooks import (
    AtomicCheckpointHook,
    CodebookGuardHook,
    CollapsedCodebookError,
    DatasetCheckHook,
    EtaTimerHook,
    GracefulStopHook,
    NonFiniteError,
    NonFiniteGuardHook,
    RunRecordHook,
    TokenizerPicturesHook,
    TokenizerScheduleHook,
    WorkerTimeoutHook,
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
    'DatasetCheckHook',
    'EtaTimerHook',
    'GracefulStopHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'RunRecordHook',
    'TokenizerPicturesHook',
    'TokenizerScheduleHook',
    'WorkerTimeoutHook',
]
