import contextlib
import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from beit_mm.checkpoints.store.atomic_file import refuse_link
from beit_mm.contracts import UserError

FILE_NAME = '.training.lock'


class WorkDirInUseError(UserError):
    """Another process trains in the same work dir."""


def lock(work_dir: str | Path) -> FileLock | None:
    """Keep trainings of other processes out of ``work_dir`` until the returned lock is released.

    The kernel releases it when this process ends, whatever ends it. Data workers do not inherit it.

    Returns:
        None where the file system has no locks.

    Raises:
        WorkDirInUseError: Another process has it.
        LinkError: The file of the lock leads elsewhere.
    """
    path = Path(work_dir) / FILE_NAME
    refuse_link(path)
    # One object per file and process, so that a second training of this process may go on.
    held = FileLock(path, timeout=0, is_singleton=True, fallback_to_soft=False)
    try:
        held.acquire()
    except Timeout:
        holder = 'another process'
        with contextlib.suppress(OSError):  # Windows does not let others read a locked file
            holder = path.read_text(encoding='utf-8').strip() or holder
        raise WorkDirInUseError(
            f'Another training runs in {work_dir} ({holder}), and the two would overwrite each '
            "other's checkpoints; wait for its end, stop it, or choose another work_dir"
        ) from None
    except (OSError, NotImplementedError):
        return None
    with contextlib.suppress(OSError):  # a full disk takes no text, but the lock
        path.write_text(f'process {os.getpid()} on {socket.gethostname()}\n', encoding='utf-8')
    return held
