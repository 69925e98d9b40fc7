import math

import pytest
import torch

from beit_mm.evaluation.frozen_probes import effective_rank, probe, split_by_class


def test_effective_rank__counts_directions_of_equal_size():
    for number in (1, 3, 8):
        features = torch.zeros(40, 8)
        features[torch.arange(number), torch.arange(number)] = 5.0
        assert effective_rank(features) == pytest.approx(number, abs=1e-3)
    assert math.isnan(effective_rank(torch.full((4, 2), math.inf)))
    features = torch.zeros(4, 2)
    features[0, 0], features[1, 1] = 3.0, 1.0  # shares 3/4 and 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(7 * features) == pytest.approx(math.exp(entropy), abs=1e-3)


def test_split_by_class__halves_of_each_class():
    labels = torch.tensor([0] * 6 + [1] * 5 + [2] * 2)
    learn, ask = split_by_class(labels, seed=0)
    assert sorted([*learn.tolist(), *ask.tolist()]) == [*range(13)]
    assert labels[learn].bincount().tolist() == [3, 3, 1]
    few, rest = split_by_class(labels, seed=0, each=1)
    assert labels[few].bincount().tolist() == [1, 1, 1] and len(rest) == 10
    assert split_by_class(labels, seed=1)[0].tolist() != learn.tolist()


def test_probe__a_list_over_splits():
    labels = torch.arange(60) % 3
    features = torch.eye(3)[labels] + 0.05 * torch.randn(60, 3)
    found = probe(features, labels, splits=4, shots=(2,))
    assert found == {name: [100.0] * 4 for name in ('knn', 'linear', '2-shot')}
    noise = probe(torch.randn(300, 5), torch.arange(300) % 3, splits=3)
    assert all(15 < value < 55 for values in noise.values() for value in values)
