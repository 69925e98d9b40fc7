from pathlib import Path

import numpy as np

from beit_mm.contracts.digest import text_sha256
from beit_mm.datasets.token_cache.cache_files import (
    AGAIN,
    TokenCacheError,
    check_plan,
    file_sha256,
    is_whole,
    map_shard,
    read_json,
    read_plan,
)


class TokenCache:
    """Rows of a finished cache, memory-mapped.

    Args:
        verify: Read every shard once and compare its checksum.

    Raises:
        TokenCacheError: There is no cache, it is not finished, or a file is missing or changed.
    """

    def __init__(self, folder: str | Path, verify: bool = True):
        self.folder = Path(folder)
        if not (self.folder / 'index.json').is_file():
            state = 'is not finished' if (self.folder / 'progress.json').is_file() else 'is none'
            raise TokenCacheError(
                f'cache_dir={str(folder)!r} {state}: it has no index.json; make it with '
                'tools/analysis_tools/cache_tokens.py, which goes on where it was stopped'
            )
        self.index = read_plan(self.folder / 'index.json')
        for shard in self.index['shards'] if verify else ():
            if not is_whole(self.folder, shard):
                raise TokenCacheError(
                    f'{self.folder / shard["file"]} is missing or is not what was written (its '
                    f'SHA-256 differs); {AGAIN}'
                )
        shards, self.vocab_size = self.index['shards'], self.index['vocab_size']
        maps = [map_shard(self.folder, shard, self.vocab_size) for shard in shards]
        if len({rows.dtype for rows in maps}) != 1 or sum(map(len, maps)) != self._planned():
            raise TokenCacheError(
                f'{self.folder}: index.json lists {sum(map(len, maps))} rows in {len(maps)} '
                f'shards, expected {self._planned()} rows of one kind; make the cache again'
            )
        self.ends = np.cumsum([shard['rows'] for shard in shards])
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> np.void:
        number = int(np.searchsorted(self.ends, row, side='right'))
        if number not in self._maps:
            shard = self.index['shards'][number]
            self._maps[number] = map_shard(self.folder, shard, self.vocab_size)
        rows = self._maps[number]
        found = rows[row - int(self.ends[number]) + len(rows)]
        if found['ids'].max() >= self.vocab_size:
            raise TokenCacheError(
                f'{self.folder}: row {row} has the token {found["ids"].max()}, but the vocabulary '
                f'has {self.vocab_size}; make the cache again'
            )
        return found

    def _planned(self) -> int:
        return self.index['samples'] * self.index['epochs']

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _maps={})  # each process maps the files itself

    def names(self) -> list[str]:
        """Return the paths of the images."""
        path = self.folder / 'names.json'
        if not path.is_file() or file_sha256(path) != self.index['names']:
            raise TokenCacheError(f'{path} is missing or damaged; make the cache again')
        return read_json(path)

    def check(self, pipeline: list, names: list[str]) -> None:
        """Raise a TokenCacheError unless the cache was made by this pipeline, of these files."""
        advice = 'make a cache for this config'
        expected = dict(self.index, pipeline=pipeline, samples=len(names))
        check_plan(self.folder, self.index, expected, advice)
        if text_sha256(names) != self.index['files']:
            found = dict(self.index, files=self.names())
            check_plan(self.folder, found, dict(expected, files=names), advice)
