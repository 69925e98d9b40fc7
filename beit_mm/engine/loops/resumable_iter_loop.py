from mmengine.runner import IterBasedTrainLoop

from beit_mm.contracts import warn
from beit_mm.engine.loops.resumable_loop import ResumableLoop
from beit_mm.registry import LOOPS


@LOOPS.register_module()
class ResumableIterLoop(ResumableLoop, IterBasedTrainLoop):
    """IterBasedTrainLoop that goes on at the very sample where it was, see ResumableLoop.

    It runs through the epochs without a break. With another batch size or number of processes it
    goes on at the same sample, with a warning. A validation that was due at the checkpoint is
    repeated first, since it may have been cut off.
    """

    def run(self):
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.resume()
        if self._iter:
            self.validate_if_due()
        batches = self.batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self.validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    @property
    def place(self) -> tuple[int, int]:
        return divmod(self.offset, self.sampler.size)

    def start_sampler(self) -> None:
        self.sampler.start(*self.place, endless=True)

    @property
    def progress(self) -> tuple[int, int]:
        return self._iter, self._max_iters

    @property
    def counted_offset(self) -> int:
        return self._iter * self.samples_per_iter

    def tell_changes(self, changes: str) -> None:
        warn(
            f'Resumed at iteration {self._iter}: {changes}. The data goes on after the '
            f'{self.offset} samples seen; max_iters and the schedules still count iterations'
        )
