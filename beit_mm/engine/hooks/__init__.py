from beit_mm.engine.hooks.atomic_checkpoint_hook import AtomicCheckpointHook
from beit_mm.engine.hooks.attribute_schedule_hook import AttributeScheduleHook
from beit_mm.engine.hooks.dataset_check_hook import DatasetCheckHook
from beit_mm.engine.hooks.eta_timer_hook import EtaTimerHook
from beit_mm.engine.hooks.graceful_stop_hook import GracefulStopHook
from beit_mm.engine.hooks.load_report_hook import LoadReportHook
from beit_mm.engine.hooks.prediction_pictures_hook import PredictionPicturesHook
from beit_mm.engine.hooks.probe_hook import ProbeHook
from beit_mm.engine.hooks.run_record_hook import RunRecordHook
from beit_mm.engine.hooks.tokenizer_pictures_hook import TokenizerPicturesHook
from beit_mm.engine.hooks.worker_timeout_hook import WorkerTimeoutHook

__all__ = [
    'AtomicCheckpointHook',
    'AttributeScheduleHook',
    'DatasetCheckHook',
    'EtaTimerHook',
    'GracefulStopHook',
    'LoadReportHook',
    'PredictionPicturesHook',
    'ProbeHook',
    'RunRecordHook',
    'TokenizerPicturesHook',
    'WorkerTimeoutHook',
]
