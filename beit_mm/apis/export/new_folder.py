import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beit_mm.contracts import UserError

# What exports write. A folder with other files is somebody's, and is never replaced.
FILES = ('README.md', 'config.json', 'model.onnx', 'model.safetensors', 'preprocessor_config.json')


@contextmanager
def new_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Make a folder that appears as ``folder`` when the block has ended without an error.

    Until then it is a hidden folder beside it, which an error removes.

    Args:
        overwrite: Replace the folder of an earlier export.

    Raises:
        UserError: There is such a folder, or one that holds other files than an export.
    """
    folder = Path(folder).expanduser().resolve()
    check_free(folder, overwrite)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f'.{folder.name}.{os.getpid()}.partial')
    partial.mkdir()
    try:
        yield partial
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise a UserError unless ``folder`` may be written."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f'{folder} is a file; give the name of a folder')
    found = sorted(path.name for path in folder.iterdir())
    foreign = [name for name in found if name not in FILES]
    if foreign:
        raise UserError(
            f'{folder} holds {foreign[0]}, which no export writes, so it is left alone; give the '
            'name of a new folder'
        )
    if found and not overwrite:
        raise UserError(f'{folder} exists already; give another name, or --overwrite')
