import math

import pytest
import torch

from beit_mm.models.layers.chance_level import ChanceLevel


def test_window__weighs_losses_by_their_targets_and_forgets():
    chance = ChanceLevel(4, window=2)
    chance(torch.tensor([3, 3, 3]), torch.tensor(9.0))
    chance(torch.tensor([0, 0, 1]), torch.tensor(0.6))
    got = chance(torch.tensor([1]), torch.tensor(0.2))
    entropy = math.log(2)  # two of each; the first step is out of the window
    assert got['target_codes'] == 2
    assert got['chance'].item() == pytest.approx(entropy)
    assert got['target_perplexity'].item() == pytest.approx(2)
    assert got['gain_over_unigram'].item() == pytest.approx(1 - (3 * 0.6 + 0.2) / 4 / entropy)


def test_the_best_constant_prediction__closes_nothing():
    ids = torch.tensor([0, 0, 0, 1, 2, 2])
    share = torch.bincount(ids) / len(ids)
    loss = torch.nn.functional.cross_entropy(share.log().expand(6, 3), ids)
    assert ChanceLevel(3)(ids, loss)['gain_over_unigram'].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize('ids', [[], [2, 2, 2]])
def test_nothing_to_predict__finite(ids):
    got = ChanceLevel(4)(torch.tensor(ids, dtype=torch.long), torch.tensor(0.5))
    assert got['gain_over_unigram'] == 0 and got['chance'] == 0


@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_a_loss_that_is_not_finite__is_left_out(bad):
    chance = ChanceLevel(4, window=2)
    got = chance(torch.tensor([0, 1]), torch.tensor(bad))
    assert got['gain_over_unigram'].isnan()  # nothing is known of it
    got = chance(torch.tensor([0, 1, 2]), torch.tensor(0.3))
    assert got['gain_over_unigram'].item() == pytest.approx(1 - 0.3 / got['chance'].item())
    assert got['target_codes'] == 3


def test_nothing_in_the_state_dict():
    assert not ChanceLevel(4).state_dict()


def test_training_state__goes_on_with_the_window():
    """A resumed run logs the figures of the one that was not interrupted."""
    steps = [(torch.randint(5, (7,)), torch.rand(())) for _ in range(9)]
    calm, before, after = (ChanceLevel(5, window=4) for _ in range(3))
    for ids, loss in steps[:6]:
        calm(ids, loss)
        before(ids, loss)
    for name, module in before.named_modules():  # as a checkpoint keeps it
        if hasattr(module, 'training_state'):
            after.get_submodule(name).load_training_state(module.training_state())
    for ids, loss in steps[6:]:
        assert after(ids, loss) == calm(ids, loss)
