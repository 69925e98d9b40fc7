import atexit
import os
import sys
from collections.abc import Callable

import torch

from beit_mm.contracts import UserError


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main``; end the program with the message alone of an error that the user can mend.

    Those are each ``UserError``, a file that does not exist, and a name that no registry has, in
    this process or in a worker of a data loader. All other errors keep their traceback.
    """
    try:
        main()
        _leave_process_group(0)
    except SystemExit as stop:
        if isinstance(stop.code, int):
            _leave_process_group(stop.code)
        raise
    except Exception as error:
        message = message_of(error)
        if not _is_for_the_user(error, message):
            raise
        sys.exit(f'error: {message}')


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


def _is_for_the_user(error: Exception, message: str) -> bool:
    if isinstance(error, KeyError):
        return 'is not in the' in message and 'registry' in message
    if isinstance(error, AssertionError):  # how mmseg says that an ann_file does not exist
        return message.startswith('Failed to load `ann_file`')
    return isinstance(error, UserError | FileNotFoundError)


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
