"""The file that a user means: the best checkpoint of a work dir, the weights of an export."""

from os import PathLike
from pathlib import Path

from mmengine.logging import print_log

from beit_mm.checkpoints import store
from beit_mm.checkpoints.download import fetch
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.contracts.errors import some

EXPORTED = ('model.safetensors', 'pytorch_model.bin')  # the second is of older transformers


def find_checkpoint(source: str | Path) -> Path:
    """Return the file with the weights that ``source`` stands for.

    Args:
        source: A checkpoint, an https address of one, a folder with ``model.safetensors``, or a
            work dir, whose best checkpoint is taken, else the last whole one. The log says which.

    Raises:
        MissingFileError: There is nothing of this name.
        UserError: The folder has no checkpoint, or none that is whole.
    """
    if not isinstance(source, str | PathLike):
        raise UserError(
            f'The checkpoint is a {type(source).__name__}; expected a path or an https address'
        )
    if str(source).startswith('https://'):
        return Path(fetch(str(source)))
    return find_local(source)


def find_local(path: str | Path) -> Path:
    """Return the file itself, or that of a work dir or of an export; errors as above."""
    path = Path(path).expanduser()
    if path.is_dir():
        return find_in_folder(path)
    if not path.is_file():
        raise MissingFileError(
            f'There is no checkpoint {path} (looked in {Path.cwd()}){describe_neighbors(path)}'
        )
    return path


def find_in_folder(path: Path) -> Path:
    """Return the weights of an export, or the best checkpoint of a work dir, else its last one.

    Raises:
        UserError: The folder has no checkpoint, or none that is whole.
    """
    for name in EXPORTED:
        if (path / name).is_file():
            return path / name
    candidates = [*_best(path), *_last(path)]
    broken = []
    for file in candidates:
        if reason := store.why_broken(file):
            broken.append(f'{file.name}: {reason}')
            continue
        passed = f'; passed over {"; ".join(broken)}' if broken else ''
        print_log(f'{path}: took {file.name}{passed}', logger='current')
        return file
    inside = sorted(pointer.parent.name for pointer in path.glob(f'*/{store.POINTER}'))
    raise (UserError if broken else MissingFileError)(
        f'{path} has no '
        + (f'whole checkpoint ({"; ".join(broken)})' if broken else 'checkpoint')
        + f': looked for best_*.pth, {store.POINTER}, iter_*.pth, epoch_*.pth and {EXPORTED[0]}; '
        + (f'it has the work dirs {some(inside)}: name one' if inside else 'name a file')
    )


def describe_neighbors(path: Path) -> str:
    """Say which checkpoints lie in the folder where ``path`` is not, or ''."""
    found = sorted(file.name for file in path.parent.glob('*.pth')) if path.parent.is_dir() else []
    return f'; {path.parent} has {some(found, 5)}' if found else ''


def _best(folder: Path) -> list[Path]:
    """Return the best checkpoints of the last run, the newest first."""
    earlier = store.retired(folder)
    found = [file for file in folder.glob('best_*.pth') if file.name not in earlier]
    return sorted(found, key=lambda file: (-file.stat().st_mtime, file.name))


def _last(folder: Path) -> list[Path]:
    pointed = store.pointed_at(folder, folder)
    numbered = [
        file
        for template in ('iter_{}.pth', 'epoch_{}.pth')
        for file in store.steps_of(folder, template).values()
    ]
    return ([pointed] if pointed else []) + [file for file in numbered if file != pointed]
