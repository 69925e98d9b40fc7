"""Token caches, curves and lists of bad samples that were damaged or cut off."""

import json
import os
import shutil

import numpy as np
import pytest
from fuzzing import mutated, prop
from hypothesis import strategies as st
from mmengine.logging import MessageHub

from beit_mm.datasets import TokenCache, TokenCacheError, TokenCacheWriter
from beit_mm.datasets.token_cache.cache_files import (
    describe,
    file_sha256,
    read_plan,
    row_type,
    write_plan,
)
from beit_mm.visualization import ContinuedVisBackend

NAMES = [f'{i}.png' for i in range(5)]
PIPELINE = [dict(type='TwoViewResizedCrop', size=8)]


def rows(number):
    made = np.zeros(number, row_type(16, (2, 2)))
    made['ids'] = np.random.default_rng(0).integers(0, 16, (number, 2, 2))
    made['view'] = np.arange(number)
    return made


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """A cache of three shards."""
    folder = tmp_path_factory.mktemp('cache') / 'cache'
    plan = describe('a' * 64, 16, {}, PIPELINE, NAMES, epochs=2, seed=3)
    writer = TokenCacheWriter(folder, plan, NAMES, shard_rows=4)
    writer.append(rows(10))
    writer.finish()
    return folder


def content(folder):
    cache = TokenCache(folder)
    cache.check(PIPELINE, NAMES)
    return cache.index, cache.names(), [cache[row].tobytes() for row in range(len(cache))]


@prop(
    few=40,
    place=st.floats(0, 1, exclude_max=True),
    value=st.integers(1, 255),
    which=st.integers(0, 4),
)
def test_token_cache__any_changed_byte_is_an_error(cache, place, value, which):
    path = sorted(cache.iterdir())[which]
    whole, expected = path.read_bytes(), content(cache)
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= value
    path.write_bytes(damaged)
    try:
        assert content(cache) == expected  # white space of the index
    except TokenCacheError as error:
        assert str(cache) in str(error)
    finally:
        path.write_bytes(whole)


@prop(few=40, which=st.integers(0, 4), part=st.floats(0, 1, exclude_max=True))
def test_token_cache__cut_off_anywhere_is_an_error(cache, which, part):
    path = sorted(cache.iterdir())[which]
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(TokenCacheError):
            content(cache)
    finally:
        path.write_bytes(whole)


@prop(few=30, stops=st.lists(st.integers(0, 4), max_size=4), damage=st.integers(0, 2))
def test_token_cache__written_in_parts_is_the_same(cache, tmp_path_factory, stops, damage):
    """Begun again after any stop, and with a shard that was damaged in between."""
    folder = tmp_path_factory.mktemp('parts') / 'cache'
    plan = describe('a' * 64, 16, {}, PIPELINE, NAMES, epochs=2, seed=3)
    for stop in stops:
        writer = TokenCacheWriter(folder, plan, NAMES, shard_rows=4)
        writer.append(rows(10)[writer.done : writer.done + stop])
        shard = folder / f'tokens-{damage:05d}.npy'
        if shard.is_file():
            shard.write_bytes(shard.read_bytes()[:-1])
    writer = TokenCacheWriter(folder, plan, NAMES, shard_rows=4)
    if writer.done < 10:
        writer.append(rows(10)[writer.done :])
    writer.finish()
    assert content(folder) == content(cache)
    shutil.rmtree(folder.parent)


def log(folder, start, run):
    """A run from a checkpoint of step ``start`` to 12; every third step has a validation.

    One that was due at the checkpoint is made first, as the loops do.
    """
    backend = ContinuedVisBackend(save_dir=str(folder / f'run{run}' / 'vis_data'))
    hub = MessageHub.get_current_instance()
    for step in range(start, 13):
        hub.update_info('iter', step - 1)
        if step > start:
            backend.add_scalars(dict(iter=step, loss=1 / step), step)
        if step and step % 3 == 0:
            backend.add_scalars(dict(score=step / 7), step)


@pytest.fixture(scope='module')
def curve(tmp_path_factory):
    folder = tmp_path_factory.mktemp('calm')
    log(folder, 0, 0)
    return (folder / 'scalars.jsonl').read_bytes()


@prop(few=50, cut=st.floats(0, 1), back=st.integers(0, 5))
def test_curve__cut_off_at_any_byte_and_gone_on(curve, tmp_path_factory, cut, back):
    """Killed anywhere and resumed from a step before: each step once, in order."""
    folder = tmp_path_factory.mktemp('chaos')
    path = folder / 'scalars.jsonl'
    left = curve[: int(cut * len(curve))]
    path.write_bytes(left)
    steps = [json.loads(line)['iter'] for line in left.splitlines() if line.endswith(b'}')]
    start = max(0, max(steps, default=0) - back)
    log(folder, start, 1)
    assert path.read_bytes() == curve
    shutil.rmtree(folder)


@prop(few=40, file=mutated({'scalars.jsonl': b'{"loss": 1.0, "kind": "train", "iter": 3}\n' * 3}))
def test_curve__damaged_lines_are_dropped(tmp_path_factory, file):
    folder = tmp_path_factory.mktemp('damaged')
    (folder / 'scalars.jsonl').write_bytes(file[1])
    log(folder, 9, 0)
    lines = (folder / 'scalars.jsonl').read_text(encoding='utf-8').splitlines()
    steps = [json.loads(line)['iter'] for line in lines]
    assert steps[-5:] == [9, 10, 11, 12, 12] and max(steps) == 12
    shutil.rmtree(folder)


def relist(folder, **changes):
    """Change the index of a cache, with a digest that fits."""
    plan = read_plan(folder / 'index.json')
    shards = changes.pop('shard', {})
    plan.update(changes)
    plan['shards'][1].update(shards)
    write_plan(folder / 'index.json', plan)


def exchange(folder, **changes):
    path = folder / 'tokens-00001.npy'
    made = rows(4) if 'number' not in changes else rows(changes['number'])
    if 'ids' in changes:
        made['ids'][2, 0, 1] = changes['ids']
    np.save(path, changes.get('array', made))
    if changes.get('listed', True):
        relist(folder, shard=dict(sha256=file_sha256(path)))


FOREIGN = {
    'missing shard': lambda folder: (folder / 'tokens-00001.npy').unlink(),
    'empty shard': lambda folder: (folder / 'tokens-00001.npy').write_bytes(b''),
    'cut shard': lambda folder: os.truncate(folder / 'tokens-00001.npy', 150),
    'text': lambda folder: (folder / 'tokens-00001.npy').write_text('tokens'),
    'folder': lambda folder: [
        (folder / 'tokens-00001.npy').unlink(),
        (folder / 'tokens-00001.npy').mkdir(),
    ],
    'fewer rows': lambda folder: exchange(folder, number=3),
    'more rows': lambda folder: exchange(folder, number=5),
    'plain array': lambda folder: exchange(folder, array=np.zeros((4, 2, 2), int)),
    'objects': lambda folder: exchange(folder, array=np.array([{}] * 4, object)),
    'another grid': lambda folder: exchange(folder, array=np.zeros(4, row_type(16, (3, 3)))),
    'wider tokens': lambda folder: exchange(folder, array=np.zeros(4, row_type(2**20, (2, 2)))),
    'beyond the vocabulary': lambda folder: exchange(folder, ids=16),
    'far beyond the vocabulary': lambda folder: exchange(folder, ids=65535),
    'name outside': lambda folder: relist(folder, shard=dict(file='../tokens-00001.npy')),
    'name of a number': lambda folder: relist(folder, shard=dict(file=7)),
    'rows of text': lambda folder: relist(folder, shard=dict(rows='4')),
    'no shards': lambda folder: relist(folder, shards=[{}, {}]),
    'fewer listed': lambda folder: relist(folder, samples=6),
    'vocabulary of text': lambda folder: relist(folder, vocab_size='16'),
}


@pytest.mark.parametrize('what', FOREIGN)
@pytest.mark.parametrize('verify', [True, False])
def test_token_cache__of_foreign_or_missing_parts_is_an_error_in_words(
    what, verify, cache, tmp_path
):
    folder = tmp_path / 'cache'
    shutil.copytree(cache, folder)
    FOREIGN[what](folder)
    with pytest.raises(TokenCacheError, match='make the cache again|goes on from the damaged'):
        found = TokenCache(folder, verify)
        for row in range(len(found)):
            found[row]
