from beit_mm.checkpoints.store import AtomicLocalBackend
from beit_mm.engine.guards import (
    CodebookGuardHook,
    CollapsedCodebookError,
    NonFiniteError,
    NonFiniteGuardHook,
    PredictionGuardHook,
    UnhealthyTrainingError,
    UpdateGuardHook,
)
from beit_mm.engine.hooks import (
    AtomicCheckpointHook,
    AttributeScheduleHook,
    DatasetCheckHook,
    EtaTimerHook,
    GracefulStopHook,
    LoadReportHook,
    PredictionPicturesHook,
    ProbeHook,
    RunRecordHook,
    TokenizerPicturesHook,
    WorkerTimeoutHook,
)
from beit_mm.engine.loops import ResumableEpochLoop, ResumableIterLoop
from beit_mm.engine.optim_wrappers import AutocastOptimWrapper, BEiTOptimWrapperConstructor
from beit_mm.engine.runners import QuietRunner

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'AttributeScheduleHook',
    'AutocastOptimWrapper',
    'BEiTOptimWrapperConstructor',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'DatasetCheckHook',
    'EtaTimerHook',
    'GracefulStopHook',
    'LoadReportHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'PredictionGuardHook',
    'PredictionPicturesHook',
    'ProbeHook',
    'QuietRunner',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'RunRecordHook',
    'TokenizerPicturesHook',
    'UnhealthyTrainingError',
    'UpdateGuardHook',
    'WorkerTimeoutHook',
]
