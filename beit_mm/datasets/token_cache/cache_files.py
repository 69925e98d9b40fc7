"""Tokens of a data set on disk: shards of rows, and an index that says what they were made of.

A shard is a plain .npy file of a structured type, with one row for each sample of each virtual
epoch (row = epoch * samples + sample):

- ``ids`` (h, w): the tokens
- ``crop`` (4,): top, left, height, width
- ``flip``: a place in FLIPS
- ``view``: the CRC-32 of the encoder's view

``names.json`` has the paths of the images. ``index.json`` is written last, and in one step:
without it a folder is an unfinished cache, and ``progress.json`` lists the shards that are there.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from beit_mm.checkpoints.store import write_atomically
from beit_mm.contracts import UserError
from beit_mm.contracts.digest import text_sha256

FORMAT = 3
FLIPS = ('none', 'horizontal', 'vertical', 'diagonal')
# What decides the content of a cache, and how a cache that differs in it was made.
PLAN = dict(
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


AGAIN = (
    'run tools/analysis_tools/cache_tokens.py with the same arguments again, which goes on from '
    'the damaged shard'
)


class TokenCacheError(UserError):
    """A cache is not whole, or was made for another tokenizer, pipeline or data set."""


def describe(
    tokenizer: str,
    vocab_size: int,
    pixels: Mapping,
    pipeline: list,
    names: list[str],
    epochs: int,
    seed: int,
) -> dict[str, Any]:
    """Return the plan of a cache: what decides its content.

    Args:
        tokenizer: SHA-256.
        pixels: How the tokenizer's view comes from the loaded pixels (``token_pixels``).
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


def check_plan(folder: Path, found: Mapping, expected: Mapping, advice: str) -> None:
    """Raise a TokenCacheError that names the first difference between two plans."""
    for key, words in PLAN.items():
        if found.get(key) != expected[key]:
            there, here = _first_difference(found.get(key), expected[key])
            raise TokenCacheError(
                f'{folder} was made {words}: {key} is {there!r} there and {here!r} here; {advice}'
            )


def _first_difference(there: Any, here: Any) -> tuple[Any, Any]:
    if not isinstance(there, list) or not isinstance(here, list):
        return there, here
    pairs = zip_longest(there, here, fillvalue='nothing')
    return next((a, b) for a, b in pairs if a != b)


def write_plan(path: Path, plan: Mapping) -> None:
    """Write an index, or how far a cache has come, with a digest of itself."""
    content = json.dumps(dict(plan, digest=text_sha256(plan)), indent=1)
    write_atomically(path, content.encode())


def read_plan(path: Path) -> dict:
    """Return what :func:`write_plan` has written.

    Raises:
        TokenCacheError: The file is damaged or of another format.
    """
    plan = read_json(path)
    if isinstance(plan, dict) and plan.get('format', FORMAT) != FORMAT:
        raise TokenCacheError(
            f'{path.parent}: format {plan["format"]}, this version reads {FORMAT}; make the cache '
            'again'
        )
    digest = plan.pop('digest', None) if isinstance(plan, dict) else None
    if digest != text_sha256(plan) or not _is_complete(plan):
        raise TokenCacheError(f'{path} is damaged; remove {path.parent}, make the cache again')
    return plan


def _is_complete(plan: dict) -> bool:
    """Return whether a plan has all that is asked of it, and names files of its folder alone."""
    counts = [plan.get(key) for key in ('vocab_size', 'samples', 'epochs', 'seed')]
    shards = plan.get('shards')
    return (
        set(PLAN) <= set(plan)
        and all(type(count) is int and count >= 0 for count in counts)
        and isinstance(shards, list)
        and all(isinstance(shard, dict) for shard in shards)
        and all(type(shard.get('rows')) is int and shard['rows'] > 0 for shard in shards)
        and all(re.fullmatch(r'tokens-\d+\.npy', str(shard.get('file'))) for shard in shards)
        and all(isinstance(shard.get('sha256'), str) for shard in shards)
        and sum(shard['rows'] for shard in shards) <= plan['samples'] * plan['epochs']
    )


def map_shard(folder: Path, shard: Mapping, vocab_size: int) -> np.ndarray:
    """Return the rows of a shard, memory-mapped.

    Raises:
        TokenCacheError: It is missing, is no shard, or one of another cache.
    """
    path = folder / shard['file']
    try:
        rows = np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TokenCacheError(f'{path} is missing or damaged ({error}); {AGAIN}') from None
    ids = rows.dtype.fields['ids'][0] if 'ids' in (rows.dtype.names or ()) else np.dtype('u1')
    if rows.shape != (shard['rows'],) or rows.dtype != row_type(vocab_size, ids.shape):
        raise TokenCacheError(
            f'{path} is of another cache: it has {rows.shape} rows of {rows.dtype}, expected '
            f'({shard["rows"]},) of {vocab_size} tokens; {AGAIN}'
        )
    return rows


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (ValueError, RecursionError) as error:
        raise TokenCacheError(f'{path} is damaged ({error}); make the cache again') from None


def is_whole(folder: Path, shard: Mapping) -> bool:
    """Return whether the file of a shard is there, with the checksum of the index."""
    path = folder / shard['file']
    return path.is_file() and file_sha256(path) == shard['sha256']


def file_sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
