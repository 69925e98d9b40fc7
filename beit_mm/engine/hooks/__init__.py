from .atomic_checkpoint_hook import AtomicCheckpointHook
from .codebook_guard_hook import CodebookGuardHook, CollapsedCodebookError
from .dataset_check_hook import DatasetCheckHook
from .eta_timer_hook import EtaTimerHook
from .graceful_stop_hook import GracefulStopHook
from .load_report_hook import LoadReportHook
from .non_finite_guard_hook import NonFiniteError, NonFiniteGuardHook
from .run_record_hook import RunRecordHook
from .tokenizer_pictures_hook import TokenizerPicturesHook
from .tokenizer_schedule_hook import TokenizerScheduleHook
from .worker_timeout_hook import WorkerTimeoutHook

__all__ = [
    'AtomicCheckpointHook',
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'DatasetCheckHook',
    'EtaTimerHook',
    'GracefulStopHook',
    'LoadReportHook',
    'NonFiniteError',
    'NonFiniteGuardHook',
    'RunRecordHook',
    'TokenizerPicturesHook',
    'TokenizerScheduleHook',
    'WorkerTimeoutHook',
]
