from .tokenizer_schedule_hook import TokenizerScheduleHook

__all__ = ['TokenizerScheduleHook']
