"""A disk that fails, or a process that dies, at any call of a checkpoint's writing."""

import errno
import shutil

import pytest
import torch
from faulty_disk import FaultyDisk, Killed, storage
from fuzzing import prop
from hypothesis import strategies as st

from beit_mm.checkpoints import read_checkpoint
from beit_mm.checkpoints.store import newest_valid, point_and_rotate, sweep, write_atomically

FAULTS = st.sampled_from(['killed', errno.ENOSPC, errno.EIO, errno.EDQUOT])


def fault_of(kind):
    return Killed() if kind == 'killed' else OSError(kind, 'disk fault')


@prop(
    few=40,
    old=st.none() | st.binary(max_size=200),
    new=st.binary(max_size=400),
    fails_at=st.integers(0, 40),
    chunk=st.integers(1, 64),
    kind=FAULTS,
)
def test_file__whole_or_untouched(tmp_path_factory, old, new, fails_at, chunk, kind):
    folder = tmp_path_factory.mktemp('disk')
    path = folder / 'file.pth'
    if old is not None:
        path.write_bytes(old)
    with pytest.MonkeyPatch.context() as patch:
        FaultyDisk(patch, fails_at, fault_of(kind))
        patch.setattr(storage, 'CHUNK', chunk)
        try:
            write_atomically(path, new)
            failed = False
        except (Killed, OSError):
            failed = True
    found = path.read_bytes() if path.exists() else None
    assert found in (old, new) and (failed or found == new)
    sweep(folder)
    assert {file.name for file in folder.iterdir()} <= {'file.pth'}
    shutil.rmtree(folder)


@prop(few=40, saves=st.integers(1, 4), fails_at=st.integers(0, 260), kind=FAULTS)
def test_saves_in_a_row__the_last_whole_one_is_resumed(tmp_path_factory, saves, fails_at, kind):
    """Write, point, rotate, as the hook does, with a fault somewhere in it; then resume."""
    folder = tmp_path_factory.mktemp('saves')
    kept, done = [], 0
    with pytest.MonkeyPatch.context() as patch:
        FaultyDisk(patch, fails_at, fault_of(kind))
        patch.setattr(storage, 'CHUNK', 200)
        try:
            for number in range(1, saves + 1):
                whole = folder / 'whole'
                torch.save(dict(x=torch.full((5,), float(number))), whole)
                content = whole.read_bytes()
                whole.unlink()
                path = folder / f'iter_{number}.pth'
                write_atomically(path, content)
                kept.append(path.name)
                point_and_rotate(folder, path, kept[:-2])
                kept, done = kept[-2:], number
        except (Killed, OSError):
            pass
    (folder / 'whole').unlink(missing_ok=True)
    path, skipped = newest_valid(folder, folder, 'iter_{}.pth')
    assert not skipped  # none is half there
    if path is None:
        assert done == 0
    else:
        number = int(path.stem.removeprefix('iter_'))
        assert number in (done, done + 1)
        assert read_checkpoint(path)['x'].tolist() == [number] * 5
    shutil.rmtree(folder)
