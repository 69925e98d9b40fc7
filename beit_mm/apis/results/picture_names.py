"""Names of pictures in a folder, and their writing."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import cv2
import numpy as np

from beit_mm.checkpoints.store import write_atomically
from beit_mm.contracts import UserError

IN_MEMORY = re.compile(r'image \d+')  # see find_images


def picture_names(files: Sequence[str]) -> dict[str, str]:
    """Return a name without suffix for each image: its path below the folder of them all.

    Images that differ in their suffix alone keep it.
    """
    paths = {file: os.path.abspath(file) for file in files if not IN_MEMORY.fullmatch(file)}
    folder = os.path.commonpath([os.path.dirname(path) for path in paths.values()] or ['/'])
    names = {file: file for file in files}
    names |= {file: os.path.relpath(path, folder) for file, path in paths.items()}
    bare = {
        file: str(PurePath(name).with_suffix('')) if file in paths else name
        for file, name in names.items()
    }
    counts = Counter(bare.values())
    return {file: name if counts[name] == 1 else names[file] for file, name in bare.items()}


def write_png(path: Path, image: np.ndarray, overwrite: bool) -> None:
    """Write uint8 or uint16 (H, W), or RGB (H, W, 3)."""
    if os.path.lexists(path) and not overwrite:
        raise UserError(f'{path} exists already; give another folder, or overwrite=True')
    pixels = image[..., ::-1] if image.ndim == 3 else image
    write_atomically(path, cv2.imencode('.png', pixels)[1].tobytes())
