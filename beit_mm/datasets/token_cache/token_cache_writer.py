import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np

from beit_mm.checkpoints.store import write_atomically
from beit_mm.datasets.token_cache.cache_files import (
    TokenCacheError,
    check_plan,
    is_whole,
    read_plan,
    write_plan,
)


class TokenCacheWriter:
    """Writer of the rows of a cache in order, a shard at a time.

    Begun again, it goes on after the last whole shard.

    Args:
        plan: Of :func:`~beit_mm.datasets.token_cache.cache_files.describe`.
        shard_rows: Rows in a shard; all have the same number, save for the last.

    Raises:
        TokenCacheError: The folder has a part of a cache that was made of something else, or
            files of another kind.
    """

    def __init__(self, folder: str | Path, plan: Mapping, names: list[str], shard_rows: int):
        self.folder = Path(folder)
        self.plan, self.names, self.shard_rows = dict(plan), names, shard_rows
        self.total = plan['samples'] * plan['epochs']
        self.shards: list[dict] = []
        self.rows: list[np.ndarray] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self._continue()

    @property
    def done(self) -> int:
        """Return the number of rows in whole shards, which is where to go on."""
        return sum(shard['rows'] for shard in self.shards)

    def append(self, rows: np.ndarray) -> None:
        """Add the next rows (n,) of :func:`~beit_mm.datasets.token_cache.cache_files.row_type`."""
        self.rows.append(rows)
        if self.done + sum(map(len, self.rows)) > self.total:
            raise ValueError(f'{self.folder}: more than the {self.total} rows of the plan')
        while self.rows and sum(map(len, self.rows)) >= self._due():
            waiting = np.concatenate(self.rows)
            self.rows = [waiting[self._due() :]] if len(waiting) > self._due() else []
            self._write_shard(waiting[: self._due()])

    def finish(self) -> None:
        """Write the index; from here on the folder is a cache."""
        if self.done != self.total:
            raise ValueError(f'{self.folder}: {self.done} of {self.total} rows are written')
        names = json.dumps(self.names).encode()
        write_atomically(self.folder / 'names.json', names)
        index = dict(self.plan, names=hashlib.sha256(names).hexdigest(), shards=self.shards)
        write_plan(self.folder / 'index.json', index)
        (self.folder / 'progress.json').unlink(missing_ok=True)

    def _due(self) -> int:
        """Return the rows of the next shard."""
        return max(min(self.shard_rows, self.total - self.done), 1)

    def _continue(self) -> None:
        """Take over the whole shards of a cache in the folder, or begin one in an empty folder."""
        for name in ('index.json', 'progress.json'):
            if (self.folder / name).is_file():
                found = read_plan(self.folder / name)
                check_plan(self.folder, found, self.plan, 'remove it, or choose another --out')
                if found['shards'] and found['shards'][0]['rows'] < self.total:
                    self.shard_rows = found['shards'][0]['rows']
                for shard in found['shards']:
                    if not is_whole(self.folder, shard):
                        break  # made again
                    self.shards.append(shard)
                return
        if any(path.suffix != '.tmp' for path in self.folder.iterdir()):
            raise TokenCacheError(
                f'{self.folder} is not empty and is no cache of tokens; choose another --out'
            )
        self._write_progress()

    def _write_shard(self, rows: np.ndarray) -> None:
        file = f'tokens-{len(self.shards):05d}.npy'
        buffer = BytesIO()
        np.save(buffer, rows)
        content = buffer.getvalue()
        write_atomically(self.folder / file, content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.shards.append(dict(file=file, rows=len(rows), sha256=sha256))
        self._write_progress()

    def _write_progress(self) -> None:
        write_plan(self.folder / 'progress.json', dict(self.plan, shards=self.shards))
