from mmengine.runner import EpochBasedTrainLoop

from beit_mm.contracts import UserError
from beit_mm.engine.loops.resumable_loop import ResumableLoop
from beit_mm.registry import LOOPS


@LOOPS.register_module()
class ResumableEpochLoop(ResumableLoop, EpochBasedTrainLoop):
    """EpochBasedTrainLoop that goes on within an epoch, see ResumableLoop.

    A validation that was due at the checkpoint is repeated first, since it may have been cut off.

    Raises:
        UserError: It is resumed with other samples per iteration or another size of the data, so
            that an epoch would have another number of iterations than the schedules were made for.
    """

    def run(self):
        self.runner.call_hook('before_train')
        self.resume()
        if self._iter and not self.offset:
            self.validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self.validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in enumerate(self.batches(), self.offset // self.samples_per_iter):
            self.run_iter(index, batch)
        self.offset = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    @property
    def place(self) -> tuple[int, int]:
        return self._epoch, self.offset

    def start_sampler(self) -> None:
        self.sampler.start(*self.place)

    @property
    def progress(self) -> tuple[int, int]:
        return self._epoch, self._max_epochs

    @property
    def counted_offset(self) -> int:
        return (self._iter - self._epoch * len(self.dataloader)) * self.samples_per_iter

    def tell_changes(self, changes: str) -> None:
        raise UserError(
            f'Cannot resume at iteration {self._iter} (epoch {self._epoch}): {changes}. Epochs '
            'would have another number of iterations than schedules and counters were made for. '
            'Set them back (fewer processes with a larger batch_size each are fine), or start '
            'anew from these weights with load_from and resume=False'
        )
