from mmengine.runner import IterBasedTrainLoop

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
        self._resume()
        if self._iter:
            self._validate_if_due()
        batches = self.batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            batch = next(batches)
            self.batch_start = self.place
            self.offset += self.samples_per_iter
            self.run_iter(batch)
            self._validate_if_due()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    @property
    def place(self) -> tuple[int, int]:
        return divmod(self.offset, self.sampler.size)

    def start_sampler(self) -> None:
        self.sampler.start(*self.place, endless=True)

    def run_iter(self, data_batch) -> None:
        self.seed_step()
        super().run_iter(data_batch)

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        if self.runner.val_loop is not None and self._iter >= self.val_begin and due:
            self.validate()

    def _resume(self) -> None:
        self.sampler.seed = self.seed
        self.offset = self._iter * self.samples_per_iter
        if self.saved:
            self.offset = self.saved['offset']
            if changes := self.changes():
                self.warn(
                    f'Resumed at iteration {self._iter}: {", and ".join(changes)}. The data goes '
                    f'on after the {self.offset} samples seen; max_iters and the schedules still '
                    'count iterations'
                )
        self.warn_of_other_names()
        self.saved = None
