from mmengine.hooks import Hook

from beit_mm.contracts import UserError
from beit_mm.registry import HOOKS


@HOOKS.register_module()
class WorkerTimeoutHook(Hook):
    """End a run whose data worker hangs with an error, by a ``timeout`` of the data loaders.

    A data loader without workers, or with a timeout of its own, stays as it is.

    Args:
        seconds: Time that a batch may take, the start of the workers included.
    """

    def __init__(self, seconds: float = 600):
        if seconds <= 0:
            raise UserError(f'WorkerTimeoutHook.seconds={seconds}: expected more than 0')
        self.seconds = seconds

    def before_train(self, runner) -> None:
        self._limit(runner.train_dataloader)

    def before_val(self, runner) -> None:
        self._limit(runner.val_dataloader)

    def before_test(self, runner) -> None:
        self._limit(runner.test_dataloader)

    def _limit(self, loader) -> None:
        if loader.num_workers and not loader.timeout:
            loader.timeout = self.seconds
