import pickle
import random

import numpy as np
import torch

from beit_mm.datasets import SeededDataset
from beit_mm.datasets.samplers import SeededIndex


class Noise:
    metainfo = dict(classes=('a', 'b'))

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index, random.random(), np.random.rand(), torch.rand(()).item()


def test_sample__depends_on_its_seed_alone():
    data = SeededDataset(Noise())
    first = data[SeededIndex(2, 2**63 + 5)]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    assert data[SeededIndex(2, 2**63 + 5)] == first
    other = data[SeededIndex(2, 2**63 + 6)]
    assert all(a != b for a, b in zip(first[1:], other[1:], strict=True))
    assert type(first[0]) is int


def test_plain_index__is_not_seeded():
    data = SeededDataset(Noise())
    assert data[2][1:] != data[2][1:]


def test_everything_else__is_the_data_sets():
    data = pickle.loads(pickle.dumps(SeededDataset(Noise())))
    assert len(data) == 5 and data.metainfo == Noise.metainfo
