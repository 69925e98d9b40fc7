import time

from mmengine.hooks import IterTimerHook
from mmengine.runner import EpochBasedTrainLoop

from beit_mm.registry import HOOKS


@HOOKS.register_module()
class EtaTimerHook(IterTimerHook):
    """IterTimerHook whose ETA includes the validations to come, once it has seen one.

    The ETA is the mean time of a step in this process times the steps left, and the mean time of a
    validation times the validations left. Saving counts as a part of the steps.
    """

    def __init__(self):
        super().__init__()
        self.validation_times: list[float] | None = None  # of this training

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.validation_times = []

    def before_val(self, runner) -> None:
        self.validation_start = time.time()

    def after_val(self, runner) -> None:
        if self.validation_times is not None:
            self.validation_times.append(time.time() - self.validation_start)
            self.t = time.time()  # a validation is no part of the next step's time

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if self.validation_times and runner.val_loop is not None:
            mean = sum(self.validation_times) / len(self.validation_times)
            eta = runner.message_hub.get_info('eta') + mean * self.validations_left(runner)
            runner.message_hub.update_info('eta', eta)

    @staticmethod
    def validations_left(runner) -> int:
        loop = runner.train_loop
        by_iter = not isinstance(loop, EpochBasedTrainLoop)
        # The validation after this step, or this epoch, is still to come.
        done, end = (runner.iter, loop.max_iters) if by_iter else (runner.epoch, loop.max_epochs)
        interval, begin = loop.val_interval, loop.val_begin
        first = max(done // interval + 1, -(-begin // interval))
        due = max(end // interval + 1 - first, 0)
        return due + (end % interval != 0 and end >= begin)
