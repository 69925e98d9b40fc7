from mmengine.hooks import Hook

from beit_mm.registry import HOOKS


@HOOKS.register_module()
class WorkerTimeoutHook(Hook):
    """A data worker that hangs ends the run with an error, instead of keeping it for ever.

    It sets the ``timeout`` of each data loader that has workers and no timeout of its own.

    Args:
        seconds: That a batch may take, the start of the workers included.
    """

    def __init__(self, seconds: float = 600):
        if seconds <= 0:
            raise ValueError(f'WorkerTimeoutHook.seconds={seconds}: expected more than 0')
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
