from beit_mm.engine.loops.resumable_epoch_loop import ResumableEpochLoop
from beit_mm.engine.loops.resumable_iter_loop import ResumableIterLoop

__all__ = ['ResumableEpochLoop', 'ResumableIterLoop']
