"""Tokens of a data set on disk: shards of rows, and an index that says what they were made of.

A shard is a plain .npy file of a structured type, one row for each sample of each virtual epoch
(row = epoch * samples + sample): ``ids`` (h, w), ``crop`` (top, left, height, width), ``flip`` (a
place in FLIPS) and ``view``, the CRC-32 of the encoder's view. ``names.json`` has the names.
``index.json`` is written last, and in one step: without it a folder is an unfinished cache.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from beit_mm.contracts.digest import text_sha256

FORMAT = 3
FLIPS = ('none', 'horizontal', 'vertical', 'diagonal')
PLAN = (
    'format',
    'tokenizer',
    'vocab_size',
    'pixels',
    'pipeline',
    'samples',
    'files',
    'epochs',
    'seed',
)


class TokenCacheError(ValueError):
    """A cache that isn't whole, or isn't the one of this tokenizer, pipeline or data set."""


def describe(
    tokenizer: str,
    vocab_size: int,
    pixels: Mapping,
    pipeline: list,
    names: list[str],
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """What decides the content of a cache; ``tokenizer`` is a SHA-256.

    ``pixels`` says how the tokenizer's view comes from the loaded pixels.
    """
    return dict(
        format=FORMAT,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        pixels=dict(pixels),
        pipeline=pipeline,
        files=text_sha256(names),
        samples=len(names),
        epochs=epochs,
        seed=seed,
    )


def row_type(vocab_size: int, grid: tuple[int, int]) -> np.dtype:
    ids = '<u2' if vocab_size <= 2**16 else '<u4'
    return np.dtype([('ids', ids, grid), ('crop', '<i4', 4), ('flip', 'u1'), ('view', '<u4')])


class TokenCacheWriter:
    """Writes rows in order, a shard at a time; begun again, it goes on after the last whole shard.

    Args:
        plan: Of :func:`describe`.
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
        """Rows in whole shards: where to go on."""
        return sum(shard['rows'] for shard in self.shards)

    def append(self, rows: np.ndarray) -> None:
        """The next rows (n,) of :func:`row_type`."""
        self.rows.append(rows)
        if self.done + sum(map(len, self.rows)) > self.total:
            raise ValueError(f'{self.folder}: more than the {self.total} rows of the plan')
        while self.rows and sum(map(len, self.rows)) >= self._due():
            waiting = np.concatenate(self.rows)
            self.rows = [waiting[self._due() :]] if len(waiting) > self._due() else []
            self._write_shard(waiting[: self._due()])

    def finish(self) -> None:
        """Write the index; from here on it is a cache."""
        if self.done != self.total:
            raise ValueError(f'{self.folder}: {self.done} of {self.total} rows are written')
        text = json.dumps(self.names).encode()
        _write(self.folder / 'names.json', text)
        index = dict(self.plan, names=hashlib.sha256(text).hexdigest(), shards=self.shards)
        _write_plan(self.folder / 'index.json', index)
        (self.folder / 'progress.json').unlink(missing_ok=True)

    def _due(self) -> int:
        """Rows of the next shard."""
        return max(min(self.shard_rows, self.total - self.done), 1)

    def _continue(self) -> None:
        for name in ('index.json', 'progress.json'):
            if (self.folder / name).is_file():
                found = _read_plan(self.folder / name)
                _compare(self.folder, found, self.plan, 'remove it, or choose another --out')
                if found['shards'] and found['shards'][0]['rows'] < self.total:
                    self.shard_rows = found['shards'][0]['rows']
                for shard in found['shards']:
                    if not _is_whole(self.folder, shard):
                        break  # made again
                    self.shards.append(shard)
                return
        if any(path.suffix != '.tmp' for path in self.folder.iterdir()):
            raise TokenCacheError(
                f'{self.folder} is not empty and is no cache of tokens; choose another --out'
            )
        self._write_progress()

    def _write_shard(self, rows: np.ndarray) -> None:
        path = self.folder / f'tokens-{len(self.shards):05d}.npy'
        temporary = path.with_suffix('.tmp')
        with temporary.open('wb') as file:
            np.save(file, rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        self.shards.append(dict(file=path.name, rows=len(rows), sha256=_file_sha256(path)))
        self._write_progress()

    def _write_progress(self) -> None:
        _write_plan(self.folder / 'progress.json', dict(self.plan, shards=self.shards))


class TokenCache:
    """Rows of a finished cache, memory-mapped.

    Args:
        verify: Compare the checksum of each shard when it is opened here, once.

    Raises:
        TokenCacheError: It isn't there, isn't finished, or a file of it is missing or changed.
    """

    def __init__(self, folder: str | Path, verify: bool = True):
        self.folder = Path(folder)
        if not (self.folder / 'index.json').is_file():
            state = 'is not finished' if (self.folder / 'progress.json').is_file() else 'is none'
            raise TokenCacheError(
                f'cache_dir={str(folder)!r} {state}: it has no index.json; make it with '
                'tools/analysis_tools/cache_tokens.py, which goes on where it was stopped'
            )
        self.index = _read_plan(self.folder / 'index.json')
        for shard in self.index['shards'] if verify else ():
            if not _is_whole(self.folder, shard):
                raise TokenCacheError(
                    f'{self.folder / shard["file"]} is missing or is not what was written (its '
                    'SHA-256 differs); run tools/analysis_tools/cache_tokens.py with the same '
                    'arguments again, which goes on from the damaged shard'
                )
        self.ends = np.cumsum([shard['rows'] for shard in self.index['shards']])
        self._maps: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, row: int) -> np.void:
        number = int(np.searchsorted(self.ends, row, side='right'))
        if number not in self._maps:
            path = self.folder / self.index['shards'][number]['file']
            self._maps[number] = np.load(path, mmap_mode='r')
        rows = self._maps[number]
        return rows[row - int(self.ends[number]) + len(rows)]

    def __getstate__(self) -> dict:
        return dict(self.__dict__, _maps={})  # each process maps the files itself

    def names(self) -> list[str]:
        path = self.folder / 'names.json'
        if not path.is_file() or _file_sha256(path) != self.index['names']:
            raise TokenCacheError(f'{path} is missing or damaged; make the cache again')
        return _read_json(path)

    def check(self, pipeline: list, names: list[str]) -> None:
        """TokenCacheError unless the cache was made by this pipeline, of these files."""
        advice = 'make a cache for this config'
        expected = dict(self.index, pipeline=pipeline, samples=len(names))
        _compare(self.folder, self.index, expected, advice)
        if text_sha256(names) != self.index['files']:
            expected = dict(expected, files=names)
            _compare(self.folder, dict(self.index, files=self.names()), expected, advice)


def _compare(folder: Path, found: Mapping, expected: Mapping, advice: str) -> None:
    words = dict(
        format='in another format',
        tokenizer='of another tokenizer (weights or config)',
        vocab_size='with another vocabulary',
        pixels='of pixels in another scale or order (data_preprocessor)',
        pipeline='by another pipeline',
        samples='of another number of files',
        files='of other files',
        epochs='of another number of virtual epochs',
        seed='with another seed',
    )
    for key in PLAN:
        if found.get(key) != expected[key]:
            there, here = _first_difference(found.get(key), expected[key])
            raise TokenCacheError(
                f'{folder} was made {words[key]}: {key} is {there!r} there and {here!r} here; '
                f'{advice}'
            )


def _first_difference(there: Any, here: Any) -> tuple[Any, Any]:
    if not isinstance(there, list) or not isinstance(here, list):
        return there, here
    pairs = zip_longest(there, here, fillvalue='nothing')
    return next((a, b) for a, b in pairs if a != b)


def _is_whole(folder: Path, shard: Mapping) -> bool:
    path = folder / shard['file']
    return path.is_file() and _file_sha256(path) == shard['sha256']


def _file_sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise TokenCacheError(f'{path} is damaged ({error}); make the cache again') from None


def _write_plan(path: Path, plan: Mapping) -> None:
    _write(path, json.dumps(dict(plan, digest=_digest(plan)), indent=1).encode())


def _read_plan(path: Path) -> dict:
    """An index, or how far a cache has come, as it was written."""
    plan = _read_json(path)
    if isinstance(plan, dict) and plan.get('format', FORMAT) != FORMAT:
        raise TokenCacheError(
            f'{path.parent}: format {plan["format"]}, this version reads {FORMAT}; make the cache '
            'again'
        )
    digest = plan.pop('digest', None) if isinstance(plan, dict) else None
    if digest != _digest(plan):
        raise TokenCacheError(f'{path} is damaged; remove {path.parent}, make the cache again')
    return plan


def _digest(plan: Mapping) -> str:
    plan = json.loads(json.dumps(plan))  # keys as they will be read
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix('.tmp')
    with temporary.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
