from beit_mm.checkpoints.store import AtomicLocalBackend
from beit_mm.engine.guards import (
    ChanceLossGuardHook,
    CodebookGuardHook,
    CollapsedCodebookError,
    ConstantPredictionGuardHook,
    FrozenWeightsGuardHook,
    NonFiniteError,
    NonFiniteGuardHook,
    UnhealthyTrainingError,
    ZeroGradientGuardHook,
)
from beit_mm.engine.hooks import (
    AtomicCheckpointHook,
    AttributeScheduleHook,
    DatasetCheckHook,
    EtaTimerHook,
    GracefulStopHook,
    LoadReportHook,
    RunRecordHook,
    TokenizerPicturesHook,
    WorkerTimeoutHook,
)
from beit_mm.engine.loops import ResumableEpochLoop, ResumableIterLoop
from beit_mm.engine.optim_wrappers import AutocastOptimWrapper, BEiTOptimWrapperConstructor

__all__ = [
    'AtomicCheckpointHook',
    'AtomicLocalBackend',
    'AttributeScheduleHook',
    'AutocastOptimWrapper',
    'BEiTOptimWrapperConstructor',
    'ChanceLossGuardHook',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'ConstantPredictionGuardHook',
    'DatasetCheckHook',
    'EtaTimerHook',
    'FrozenWeightsGuardHook',
    'GracefulStopHook',
    'LoadReportHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'RunRecordHook',
    'TokenizerPicturesHook',
    'UnhealthyTrainingError',
    'WorkerTimeoutHook',
    'ZeroGradientGuardHook',
]
