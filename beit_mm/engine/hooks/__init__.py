from .codebook_guard_hook import CodebookGuardHook, CollapsedCodebookError
from .load_report_hook import LoadReportHook
from .tokenizer_schedule_hook import TokenizerScheduleHook

__all__ = [
    'CodebookGuardHook',
    'CollapsedCodebookError',
    'LoadReportHook',
    'TokenizerScheduleHook',
]
