"""Words for what torch says when a process that loads data dies or hangs."""

import signal
from collections.abc import Sequence
from multiprocessing.connection import wait

from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from beit_mm.contracts import UserError, some

# Part of torch's message: what to do. The first that fits counts.
ADVICE = {
    'signal: Killed': 'was killed, most likely because the memory of the machine or job is full: '
    'lower num_workers, prefetch_factor or batch_size of the data loader, or ask for more memory',
    'signal: Bus error': 'found no room in shared memory: enlarge /dev/shm (docker run '
    '--shm-size=8g), or lower num_workers, prefetch_factor or batch_size of the data loader',
    'DataLoader worker (pid': 'died, for want of memory or of a file that crashes its decoder: '
    'lower num_workers or batch_size, and look for such files with tools/check_dataset.py',
    'DataLoader timed out': 'took longer than the timeout: look whether the file system answers, '
    'and raise custom_hooks.worker_timeout.seconds (WorkerTimeoutHook) if the data are only slow',
}


class DataWorkerError(UserError, RuntimeError):
    """A process that loads data has died, or takes too long."""


def why_worker_failed(
    error: BaseException, iterator: _BaseDataLoaderIter | None = None, files: Sequence[str] = ()
) -> str | None:
    """Return what became of a data worker and what to do; None if ``error`` is another one.

    Args:
        iterator: Over the data loader, whose workers tell how they ended.
        files: Of the batch that was waited for.
    """
    said = str(error).split('\n')[0]
    has_workers = isinstance(iterator, _MultiProcessingDataLoaderIter)
    workers = iterator._workers if has_workers else []
    if workers and isinstance(error, ConnectionError | EOFError):
        # It died handing over a batch. Its files are closed a moment before it has an exit code.
        ended = wait([worker.sentinel for worker in workers], timeout=10)
        for worker in workers:
            if worker.sentinel in ended:
                worker.join(timeout=10)
        said = f'DataLoader worker (pid unknown): {said}'
    for worker in workers:
        if worker.exitcode is not None and worker.exitcode < 0:
            cause = signal.strsignal(-worker.exitcode)
            said = f'DataLoader worker (pid {worker.pid}) ended by signal: {cause}'
    if not isinstance(error, RuntimeError | OSError | EOFError) or said[:11] != 'DataLoader ':
        return None
    for part, advice in ADVICE.items():
        if part in said:
            waited = f' The batch that was waited for has {some(files, 8)}.' if files else ''
            return f'A data worker {advice} ({said.rstrip(". ")}).{waited} Go on with --resume'
    return None
