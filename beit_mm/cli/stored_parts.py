import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from shutil import rmtree

import numpy as np

from beit_mm.apis.results import Result
from beit_mm.apis.results.picture_names import picture_names
from beit_mm.checkpoints.store import open_atomically, write_atomically
from beit_mm.contracts import UserError

SECONDS, IMAGES = 10, 1024  # of a part, at most
REQUEST = 'request.json'


class StoredParts:
    """Context manager that keeps what is known of many images, so that a stopped command goes on.

    Parts lie in ``OUT.parts`` until all images are done and ``OUT`` is written. Pictures are
    written to their folder at once.

    Args:
        out: File or folder of the whole result.
        request: Plain values that a later call must have in common to go on.
        files: Names of all images.
        overwrite: Replace what is at ``out``, and parts of another request.

    Attributes:
        done: Names of the images that earlier calls have answered or left out.

    Raises:
        UserError: ``out`` exists, or the parts are those of another request.
    """

    def __init__(self, out: Path, request: Mapping, files: Sequence[str], overwrite: bool = False):
        self.out, self.overwrite = out, overwrite
        self.folder = out.with_name(f'{out.name}.parts')
        self.is_pictures = not out.suffix
        self.names = picture_names(files) if self.is_pictures else None
        request = json.loads(json.dumps(request))
        changed = self._find_changes(request)
        if changed and not overwrite:
            raise UserError(
                f'{self.folder} has what another call has done so far, of another '
                f'{", ".join(changed)}; make the same call to go on, or say --overwrite'
            )
        is_begun = self.folder.is_dir() and not changed
        is_there = any(out.iterdir()) if out.is_dir() else out.exists()
        if is_there and not overwrite and not (is_begun and self.is_pictures):
            raise UserError(f'{out} exists already; name another --out, or say --overwrite')
        if not is_begun:
            rmtree(self.folder, ignore_errors=True)
            write_atomically(self.folder / REQUEST, json.dumps(request, indent=2).encode())
        self.paths = sorted(self.folder.glob('*.npz'))
        self.waiting: list[Result] = []
        self.since = time.monotonic()
        facts = map(read_facts, self.paths)
        self.done = {name for fact in facts for name in (*fact['files'], *fact['failed'])}

    def __enter__(self) -> 'StoredParts':
        return self

    def __exit__(self, *error) -> None:
        self._flush()

    def add(self, result: Result) -> None:
        """Keep the result of a batch."""
        self.waiting.append(result)
        count = sum(len(part) + len(part.failed) for part in self.waiting)
        if count >= IMAGES or time.monotonic() - self.since >= SECONDS:
            self._flush()

    def finish(self, kind: type[Result]) -> Result:
        """Write ``out``, remove the parts and return the whole result; without its rows where
        pictures were written.
        """
        self._flush()
        whole = kind.joined([read_part(path, kind) for path in self.paths])
        if not self.is_pictures and len(whole):
            whole.save(self.out, self.overwrite)
        rmtree(self.folder)
        return whole

    def _find_changes(self, request: dict) -> list[str]:
        """Return what differs from the request whose parts are there."""
        if not any(self.folder.glob('*.npz')):
            return []
        try:
            earlier = json.loads((self.folder / REQUEST).read_text(encoding='utf-8'))
        except (OSError, ValueError):
            earlier = {}
        return [key for key in {**request, **earlier} if request.get(key) != earlier.get(key)]

    def _flush(self) -> None:
        if not self.waiting:
            return
        part = type(self.waiting[0]).joined(self.waiting)
        self.waiting, self.since = [], time.monotonic()
        if self.is_pictures and len(part):
            part.save(self.out, overwrite=True, names=self.names)
        self.paths.append(self.folder / f'{len(self.paths):06d}.npz')
        write_part(part, self.paths[-1], with_rows=not self.is_pictures)


def write_part(result: Result, path: Path, with_rows: bool) -> None:
    """Write what a file of a result holds, without pickle."""
    names = [f.name for f in fields(result) if f.name not in result.per_image]
    facts = {name: getattr(result, name) for name in names}
    arrays = result.arrays() if with_rows and len(result) else {}
    with open_atomically(path) as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


def read_facts(path: Path) -> dict:
    """Return the attributes of a stored result that have no row for each image."""
    with np.load(path, allow_pickle=False) as stored:
        return json.loads(str(stored['facts']))


def read_part(path: Path, kind: type[Result]) -> Result:
    """Return what :func:`write_part` has written."""
    with np.load(path, allow_pickle=False) as stored:
        facts, arrays = json.loads(str(stored['facts'])), dict(stored)
    columns = {}
    for name in kind.per_image:
        if name in arrays:
            columns[name] = arrays[name]
        elif f'{name}.0' in arrays:
            rows = columns[name] = np.empty(len(facts['files']), object)
            rows[:] = [arrays[f'{name}.{number}'] for number in range(len(rows))]
    return kind(**facts, **columns)
