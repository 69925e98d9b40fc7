"""The checkpoints in a folder: which there are, which are whole, which one is the last."""

import re
from collections.abc import Iterable
from pathlib import Path
from zipfile import ZipFile

from beit_mm.checkpoints.store.atomic_file import write_atomically
from beit_mm.contracts import UserError

POINTER = 'last_checkpoint'
RETIRED = 'earlier_checkpoints.txt'


class NoUsableCheckpointError(UserError, RuntimeError):
    """There are checkpoints, but none that a run can go on from."""


def why_broken(path: str | Path) -> str | None:
    """Return why a file is not a whole one of ``torch.save``, of which every byte is checked.

    None for a whole file, and for files in another format, which are left to the reader.
    """
    path = Path(path)
    if not path.is_file():
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
            damaged = archive.testzip()
    except Exception as error:  # whatever damaged bytes make of the reader
        return f'it is cut off or damaged ({error})'
    return f'its part {damaged} is damaged' if damaged else None


def steps_of(folder: str | Path, template: str) -> dict[int, Path]:
    """Return the files named like ``template`` ('iter_{}.pth') by number, the largest first."""
    head, tail = template.split('{}')
    pattern = re.compile(f'{re.escape(head)}(\\d+){re.escape(tail)}')
    folder = Path(folder)
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    found = {int(match[1]): folder / match[0] for match in map(pattern.fullmatch, names) if match}
    return dict(sorted(found.items(), reverse=True))


def pointed_at(work_dir: str | Path, folder: str | Path) -> Path | None:
    """Return the checkpoint that ``last_checkpoint`` names, wherever the work dir is now."""
    pointer = Path(work_dir) / POINTER
    text = pointer.read_text(encoding='utf-8').strip() if pointer.is_file() else ''
    if not text:
        return None
    path = Path(work_dir) / text  # an absolute one stays what it is
    if not path.is_file() and (Path(folder) / path.name).is_file():
        return Path(folder) / path.name  # written by MMEngine, before the work dir was moved
    return path


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
    return set(file.read_text(encoding='utf-8').splitlines()) if file.is_file() else set()


def bring_back(work_dir: str | Path, name: str) -> None:
    """Take a name off the list of earlier runs: this run has written its own file of it."""
    names = retired(work_dir)
    if name in names:
        _write_retired(work_dir, names - {name})


def point_and_rotate(work_dir: str | Path, path: str | Path, outdated: Iterable[str]) -> None:
    """Have ``last_checkpoint`` name a checkpoint, and then remove the outdated ones beside it."""
    folder, path = Path(work_dir).resolve(), Path(path)
    is_inside = path.resolve().is_relative_to(folder)
    target = path.resolve().relative_to(folder).as_posix() if is_inside else path.resolve()
    bring_back(folder, path.name)
    write_atomically(folder / POINTER, str(target).encode())
    for name in outdated:
        if name != path.name:
            path.with_name(name).unlink(missing_ok=True)


def _write_retired(work_dir: str | Path, names: set[str]) -> None:
    content = ''.join(f'{name}\n' for name in sorted(names))
    write_atomically(Path(work_dir) / RETIRED, content.encode())


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
