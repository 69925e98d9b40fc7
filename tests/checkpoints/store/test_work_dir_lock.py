import errno
import subprocess
import sys
from unittest.mock import Mock

import pytest
from same_training import train
from tiny_training import tiny_config

from beit_mm.checkpoints.store import WorkDirInUseError, lock

pytestmark = pytest.mark.slow

HOLDER = """
import os, sys
from beit_mm.checkpoints.store import lock
held = lock(sys.argv[1])
if os.fork():  # the other is as a data worker
    print('held', flush=True)
sys.stdin.read(1)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that trains in tmp_path."""
    pytest.importorskip('fcntl')
    process = subprocess.Popen(
        [sys.executable, '-c', HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b'held\n'
    yield process
    process.kill()
    process.stdin.close()
    process.stdout.close()
    process.wait()


@pytest.mark.parametrize('resume', [False, True])
def test_two_trainings__the_second_does_not_begin(resume, holder, tmp_path):
    (tmp_path / 'last_checkpoint').write_text('iter_9.pth')
    (tmp_path / '.iter_9.pth.1.tmp').write_bytes(b'half')  # which the first one is writing
    with pytest.raises(WorkDirInUseError, match=f'process {holder.pid} on .*another work_dir'):
        train(tiny_config(tmp_path, steps=2), resume=resume)
    assert (tmp_path / '.iter_9.pth.1.tmp').exists() and (tmp_path / 'last_checkpoint').exists()


def test_killed_training__leaves_no_lock(holder, tmp_path):
    holder.kill()
    holder.wait()  # its child lives on
    assert train(tiny_config(tmp_path, steps=2)).iter == 2


def test_one_process__trains_again(tmp_path):
    for steps in (2, 4):
        assert train(tiny_config(tmp_path, steps=steps), resume=steps > 2).iter == steps


def test_file_system_without_locks__is_no_reason_to_stop(tmp_path, monkeypatch):
    fcntl = pytest.importorskip('fcntl')
    for code in (errno.ENOLCK, errno.ENOSYS):
        error = OSError(code, 'No locks available')
        monkeypatch.setattr(fcntl, 'flock', Mock(side_effect=error))
        assert lock(tmp_path) is None
    assert train(tiny_config(tmp_path, steps=2)).iter == 2


def test_one_process__may_train_while_it_holds_the_lock(tmp_path):
    """A run that ended with an error has not released it."""
    first, second = lock(tmp_path), lock(tmp_path)
    second.release()
    assert first.is_locked
    first.release()
    assert not first.is_locked
