import math

import pytest
import torch
import torch.nn.functional as F

from beit_mm.engine.guards.constant_prediction import constant_share
from beit_mm.engine.guards.unigram_loss import unigram_entropy


def best_constant(targets, weights):
    """By gradient descent: the loss of the best logits that are the same for all rows."""
    logits = torch.zeros(targets.shape[1], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12)
    mass = targets * weights

    def loss():
        optimizer.zero_grad()
        value = -(mass * F.log_softmax(logits, 0)).sum() / mass.sum()
        value.backward()
        return value

    optimizer.step(loss)
    return loss().item()


@pytest.mark.parametrize('case', ['hard', 'smoothed', 'mixed', 'weighted'])
def test_unigram_entropy__is_the_loss_of_the_best_constant_prediction(case):
    torch.manual_seed(0)
    ids = torch.multinomial(torch.tensor([0.5, 0.25, 0.15, 0.1]), 4000, replacement=True)
    targets, weights = F.one_hot(ids, 4).double(), torch.ones(4, dtype=torch.double)
    if case == 'smoothed':
        targets = 0.9 * targets + 0.1 / 4
    if case == 'mixed':
        targets = 0.7 * targets + 0.3 * targets[torch.randperm(4000)]
    if case == 'weighted':
        weights = torch.tensor([0.1, 1.0, 1.0, 3.0], dtype=torch.double)
    correction = 3 / 8000
    entropy = unigram_entropy(targets.sum(0), weights)
    assert entropy - correction == pytest.approx(best_constant(targets, weights), abs=1e-8)


def test_unigram_entropy__of_few_targets_is_not_too_low_on_average():
    torch.manual_seed(0)
    classes = 50
    for number in (20, 100, 300, 1000):
        found = []
        for _ in range(200):
            ids = torch.randint(classes, (number,))
            found.append(unigram_entropy(torch.bincount(ids, minlength=classes)))
        assert max(found) <= math.log(classes) + 1e-9
        assert sum(found) / 200 > math.log(classes) - 0.02


def test_unigram_entropy__of_one_class_is_nothing():
    assert unigram_entropy(torch.tensor([0, 300, 0])) == 0


def test_constant_share():
    assert constant_share(torch.tensor([1.0, 6.0, 1.0])) == (1, 0.75)
    assert constant_share(torch.zeros(3)) == (0, 0.0)
