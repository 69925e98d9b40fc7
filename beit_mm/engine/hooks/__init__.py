from .load_report_hook import LoadReportHook
from .tokenizer_schedule_hook import TokenizerScheduleHook

__all__ = ['LoadReportHook', 'TokenizerScheduleHook']
