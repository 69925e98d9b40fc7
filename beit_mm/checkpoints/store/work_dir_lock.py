import contextlib
import errno
import os
import socket
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FILE_NAME = '.training.lock'


class WorkDirInUseError(ValueError):
    """Another process trains in the same work dir."""


def lock(work_dir: str | Path) -> IO | None:
    """Keep other trainings out of ``work_dir`` as long as the file is open and this process lives.

    The kernel lets go of it with the process, whatever ends it, and data workers don't inherit it.
    None where the file system has no locks.

    Raises:
        WorkDirInUseError: Another process has it.
    """
    if fcntl is None:
        return None
    file = (Path(work_dir) / FILE_NAME).open('ab+', buffering=0)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().decode().strip()
        file.close()
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            return None
        raise WorkDirInUseError(
            f'Another training runs in {work_dir} ({holder}), and the two would overwrite each '
            "other's checkpoints; wait for its end, stop it, or choose another work_dir"
        ) from None
    with contextlib.suppress(OSError):  # a full disk takes no text, but the lock
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}\n'.encode())
    return file
