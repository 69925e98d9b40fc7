"""The checkpoints in a folder: which there are, which are whole, which one is the last."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

from beit_mm.checkpoints.store.atomic_file import write_atomically
from beit_mm.contracts import UserError

POINTER = 'last_checkpoint'
RETIRED = 'earlier_checkpoints.txt'


class NoUsableCheckpointError(UserError, RuntimeError):
    """There are checkpoints, but none that a run can go on from."""


MOST_UNPACKED = 10  # times the size of an archive


def why_broken(path: str | Path) -> str | None:
    """Return why a file is not a whole one of ``torch.save``, of which every byte is checked.

    None for a whole file, and for files in another format, which are left to the reader.
    """
    path = Path(path)
    if not os.path.isfile(path):  # False for a name that no file can have, too
        return 'there is no such file'
    if path.stat().st_size == 0:
        return 'it is empty'
    with path.open('rb') as file:
        if file.read(2) != b'PK':
            return None if path.suffix == '.safetensors' else 'it is not a file of torch.save'
    try:
        with ZipFile(path) as archive:
            if not any(name.endswith('data.pkl') for name in archive.namelist()):
                return 'it is not a checkpoint'
            if min(member.header_offset for member in archive.infolist()):
                return 'there are other bytes before its beginning'
            if why := describe_excess(archive, path.stat().st_size):
                return why
            damaged = archive.testzip()
    except Exception as error:  # whatever damaged bytes make of the reader
        return f'it is cut off or damaged ({error})'
    return f'its part {damaged} is damaged' if damaged else None


def describe_excess(archive: ZipFile, size: int) -> str | None:
    """Return why an archive of ``size`` bytes may take much more to unpack, or None."""
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > MOST_UNPACKED * size:
        return f'it has {size} bytes and would unpack to {unpacked}; torch.save does not compress'
    if {member.compress_type for member in members} - {ZIP_STORED, ZIP_DEFLATED}:
        return 'it is compressed in another way than by deflate'
    return None


def steps_of(folder: str | Path, template: str) -> dict[int, Path]:
    """Return the files named like ``template`` ('iter_{}.pth') by number, the largest first."""
    head, tail = template.split('{}')
    pattern = re.compile(f'{re.escape(head)}(\\d+){re.escape(tail)}')
    folder = Path(folder)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = {int(match[1]): folder / match[0] for match in map(pattern.fullmatch, names) if match}
    return dict(sorted(found.items(), reverse=True))


def pointed_at(work_dir: str | Path, folder: str | Path) -> Path | None:
    """Return the checkpoint that ``last_checkpoint`` names, wherever the work dir is now.

    The pointer has an absolute path, as MMEngine reads it. A file of that name in ``folder`` comes
    before it: the work dir may have been moved, or be a copy of one that is still there.
    """
    pointer = Path(work_dir) / POINTER
    text = os.fsdecode(pointer.read_bytes()).strip() if pointer.is_file() else ''
    if not text:
        return None
    path = Path(work_dir) / text  # an absolute one stays what it is
    here = Path(folder) / path.name
    is_moved = Path(text).is_absolute() or not os.path.isfile(path)
    return here if is_moved and os.path.isfile(here) else path


def retire(work_dir: str | Path, folder: str | Path) -> set[str]:
    """Have ``resume`` pass over what earlier runs saved in ``folder``, and return the names.

    The files stay, and ``last_checkpoint`` becomes ``last_checkpoint.old``.
    """
    pointer, folder = Path(work_dir) / POINTER, Path(folder)
    names = {path.name for path in folder.glob('*.pth')} if folder.is_dir() else set()
    if names != retired(work_dir):
        _write_retired(work_dir, names)
    if pointer.is_file():
        pointer.replace(pointer.with_name(f'{POINTER}.old'))
    return names


def retired(work_dir: str | Path) -> set[str]:
    """Return the names of the checkpoints of earlier runs."""
    file = Path(work_dir) / RETIRED
    return set(os.fsdecode(file.read_bytes()).splitlines()) if file.is_file() else set()


def bring_back(work_dir: str | Path, name: str) -> None:
    """Take a name off the list of earlier runs: this run has written its own file of it."""
    names = retired(work_dir)
    if name in names:
        _write_retired(work_dir, names - {name})


def point_and_rotate(work_dir: str | Path, path: str | Path, outdated: Iterable[str]) -> None:
    """Have ``last_checkpoint`` name a checkpoint, and then remove the outdated ones beside it."""
    path = Path(path).absolute()
    bring_back(work_dir, path.name)
    write_atomically(Path(work_dir) / POINTER, os.fsencode(path))
    for name in outdated:
        if name != path.name:
            path.with_name(name).unlink(missing_ok=True)


def _write_retired(work_dir: str | Path, names: set[str]) -> None:
    content = ''.join(f'{name}\n' for name in sorted(names))
    write_atomically(Path(work_dir) / RETIRED, os.fsencode(content))


def newest_valid(
    work_dir: str | Path, folder: str | Path, template: str
) -> tuple[Path | None, list[tuple[Path, str]]]:
    """Return the last whole checkpoint, and those that were passed over, each with the reason.

    The pointer comes first, then the numbered ones below its number. Higher ones are left from
    another run, and so are those that were retired.

    Raises:
        NoUsableCheckpointError: All are broken. Beginning anew would overwrite them.
    """
    earlier = retired(work_dir)
    numbered = steps_of(folder, template)
    last = pointed_at(work_dir, folder)
    limit = next((step for step, path in numbered.items() if last and path.name == last.name), None)
    candidates = [last] if last else []
    candidates += [
        path
        for step, path in numbered.items()
        if path not in candidates and path.name not in earlier and (limit is None or step <= limit)
    ]
    skipped = []
    for path in candidates:
        reason = why_broken(path)
        if reason is None:
            return path, skipped
        skipped.append((path, reason))
    if skipped:
        reasons = '; '.join(f'{path}: {reason}' for path, reason in skipped)
        raise NoUsableCheckpointError(
            f'resume=True, but no checkpoint in {folder} is usable. {reasons}. Restore one, '
            'name another with load_from, or begin anew with resume=False'
        )
    return None, []
