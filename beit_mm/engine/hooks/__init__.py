from .atomic_checkpoint_hook import AtomicCheckpointHook
from .chance_loss_guard_hook import ChanceLossGuardHook
from .codebook_guard_hook import CodebookGuardHook, CollapsedCodebookError
from .constant_prediction_guard_hook import ConstantPredictionGuardHook
from .dataset_check_hook import DatasetCheckHook
from .eta_timer_hook import EtaTimerHook
from .frozen_weights_guard_hook import FrozenWeightsGuardHook
from .graceful_stop_hook import GracefulStopHook
from .guard_hook import UnhealthyTrainingError
from .load_report_hook import LoadReportHook
from .non_finite_guard_hook import NonFiniteError, NonFiniteGuardHook
from .run_record_hook import RunRecordHook
from .tokenizer_pictures_hook import TokenizerPicturesHook
from .tokenizer_schedule_hook import TokenizerScheduleHook
from .worker_timeout_hook import WorkerTimeoutHook
from .zero_gradient_guard_hook import ZeroGradientGuardHook

__all__ = [
    'AtomicCheckpointHook',
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
    'RunRecordHook',
    'TokenizerPicturesHook',
    'TokenizerScheduleHook',
    'UnhealthyTrainingError',
    'WorkerTimeoutHook',
    'ZeroGradientGuardHook',
]
