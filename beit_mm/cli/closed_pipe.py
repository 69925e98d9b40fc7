import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def closed_pipe_ends() -> Iterator[None]:
    """End the program without a message where nobody reads its output any more (``| head``)."""
    for name in ('stdout', 'stderr'):  # None where it was closed before (``>&-``)
        if vars(sys)[name] is None:
            vars(sys)[name] = open(os.devnull, 'w')
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        output = sys.stdout.fileno()
        if not _is_closed(output):  # another pipe, such as that of a worker
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)  # for the flush at the exit
        sys.exit(1)


def _is_closed(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))
