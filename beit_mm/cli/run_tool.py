import atexit
import errno
import os
import sys
from collections.abc import Callable

import torch

from beit_mm.cli.closed_pipe import closed_pipe_ends
from beit_mm.cli.start_distributed import NOT_CONNECTED, why_not_connected
from beit_mm.contracts import UserError, printable

# What the system says of a file: what to do.
OF_FILES = {
    errno.EACCES: 'change its rights, or choose another folder',
    errno.EPERM: 'change its rights, or choose another folder',
    errno.EROFS: 'choose a folder of another disk, which can be written',
    errno.ENOSPC: 'make room, or choose a folder of another disk',
    errno.EDQUOT: 'make room, or choose a folder of another disk',
    errno.EEXIST: 'remove it, or choose another name',
    errno.ENOTDIR: 'a part of the path is a file; choose another folder',
    errno.EISDIR: 'it is a folder; give a file',
    errno.ENAMETOOLONG: 'choose a shorter name',
}

INTERRUPTED = 130  # the status of a program that Ctrl-C has ended, by the custom of shells
OF_DISKS = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)  # said of a write, without a name


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main``; end the program with the message alone of an error that the user can mend.

    Those are each ``UserError``, what the system says of a file (there is none, it is read-only,
    the disk is full), a name that no registry has, in this process or in a worker of a data loader;
    workers that die or hang, and processes that do not find each other. Ctrl-C ends it in a word.
    All other errors keep their traceback.
    """
    try:
        with closed_pipe_ends():
            main()
        _leave_process_group(0)
    except SystemExit as stop:
        if isinstance(stop.code, int):
            _leave_process_group(stop.code)
        raise
    except KeyboardInterrupt:
        print('\ninterrupted', file=sys.stderr)
        _leave_process_group(INTERRUPTED)
        sys.exit(INTERRUPTED)
    except Exception as error:
        message = message_for_user(error)
        if message is None:
            raise
        sys.exit(f'error: {printable(message)}')


def message_of(error: Exception) -> str:
    """Return the message of ``error``, without the traceback that torch puts into that of a worker.

    torch raises an error of a worker anew, as the same class, with the whole traceback as its
    message. The traceback ends with the name of the class and the message.
    """
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != 'builtins':
        name = f'{kind.__module__}.{name}'
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text.rpartition(f'\n{name}: ')[2].strip()


def message_for_user(error: Exception) -> str | None:
    """Return what a user can do about ``error``, or None where only its traceback helps."""
    message = message_of(error)
    if isinstance(error, KeyError):
        return message if 'is not in the' in message and 'registry' in message else None
    if isinstance(error, AssertionError):  # how mmseg says that an ann_file does not exist
        return message if message.startswith('Failed to load `ann_file`') else None
    if isinstance(error, UserError | FileNotFoundError):
        return message
    if isinstance(error, NOT_CONNECTED):
        return why_not_connected(error)
    if isinstance(error, OSError) and error.errno in OF_FILES:
        name = error.filename2 or error.filename  # of a renaming, the one that is there
        name = name or ('the disk' if error.errno in OF_DISKS else None)
        return name and f'{name}: {error.strerror}; {OF_FILES[error.errno]}'
    if isinstance(error, OSError) and message.startswith('[Errno '):  # of a worker
        return next((message for code in OF_FILES if message.startswith(f'[Errno {code}] ')), None)
    from beit_mm.datasets.worker_errors import why_worker_failed  # much to import for each tool

    return why_worker_failed(error)


def _leave_process_group(status: int) -> None:
    """End one process of several with ``status``, after all that Python does at a normal exit.

    A thread of the group may outlive it and end the process with SIGABRT while the interpreter is
    taken down. A finished run would then be reported as a failure.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    torch.distributed.destroy_process_group()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
