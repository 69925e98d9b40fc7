import os
import pickle
import random

import pytest

from beit_mm.datasets.path_samples import PathSamples

PATHS = [
    '/a/b/1.png',
    '/a/b/',
    '/a/ü/中.jpg',
    '/a/' + os.fsdecode(b'\xff\xe2\x82.png'),
    '/a/b/1.png',
]


@pytest.mark.parametrize('paths', [PATHS, PATHS[:1], [], ['', 'x']])
def test_gives_the_paths_back(paths):
    samples = PathSamples(paths)
    assert [sample['img_path'] for sample in samples] == paths
    assert len(samples) == len(paths)
    assert [s['img_path'] for s in samples[1:3]] == paths[1:3]
    assert [s['img_path'] for s in samples[-2:]] == paths[-2:]
    assert [s['img_path'] for s in pickle.loads(pickle.dumps(samples))] == paths


def test_places_from_the_end_and_outside():
    samples = PathSamples(PATHS)
    assert samples[-1] == dict(img_path=PATHS[-1])
    with pytest.raises(IndexError):
        samples[len(PATHS)]


def test_takes_few_bytes():
    names = [
        f'/data/images/class_{n:03}/{random.Random(n).getrandbits(32):08x}.jpg' for n in range(1000)
    ]
    samples = PathSamples(names)
    assert samples.content.nbytes + samples.ends.nbytes < 30 * len(names)
