import pytest
import torch
from beit_mm.models.layers.code_usage import CodeUsage

from beit_mm.models.quantizers import dead_code_reset as revival_module
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset


def usage(counts, window=4):
    usage = CodeUsage(len(counts), window)
    usage.counts[0] = torch.tensor(counts)
    usage.step = 1
    return usage


def test_dead__under_the_share_of_the_mean_and_a_new_judgement_begins():
    revival, own = (
        DeadCodeReset(dict(share=0.5, min_tokens=5, interval=1), 'Owner'),
        usage([0, 2, 3, 15]),
    )
    dead, counts = revival.dead(own)  # the mean is 5
    assert dead.tolist() == [0, 1] and counts.tolist() == [0, 2, 3, 15]
    assert own.judged().sum() == 0
    assert own.counts.sum() == 20  # what is reported hides nothing


def test_judged__the_steps_since_the_last_revival_within_the_window():
    own = CodeUsage(2, window=4)
    for _ in range(7):
        own.add(torch.tensor([0, 1, 1]))
    assert own.judged().tolist() == 4 * [[1, 2]]
    own.judged_from = own.step
    for steps in (1, 2, 3, 4, 4):
        own.add(torch.tensor([0]))
        assert own.judged().tolist() == steps * [[1, 0]]
    resumed = CodeUsage(2, window=4)
    own.judged_from = own.step - 1
    resumed.load_training_state(own.training_state())
    assert resumed.judged().tolist() == [[1, 0]]


def test_figures__with_a_revival_those_of_the_whole_window():
    """A collapse isn't hidden by the step that revived its codes."""
    revival, own = DeadCodeReset(dict(min_tokens=1, interval=4), 'Owner'), CodeUsage(8, window=4)
    for _ in range(3):
        own(torch.zeros(96, dtype=torch.long))
    assert len(revival.dead(own)[0]) == 7
    figures = own(torch.arange(8))  # all codes are on vectors of this batch
    assert figures['perplexity'] < 1.3


@pytest.mark.parametrize('counts', [[0, 2, 2, 15], [5, 5, 5, 5]])
def test_dead__too_few_tokens_or_none_dead(counts):
    revival, own = DeadCodeReset(dict(share=0.5, min_tokens=5, interval=1), 'Owner'), usage(counts)
    assert revival.dead(own) is None
    assert own.counts.sum() == sum(counts)  # it goes on counting


def test_dead__in_the_last_step_of_each_interval():
    revival = DeadCodeReset(dict(interval=3, min_tokens=1), 'Owner')
    found = []
    for step in range(9):
        own = usage([0, 40])
        own.step = step
        found.append(revival.dead(own) is not None)
    assert found == [False, False, True] * 3


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(every=3), r"Owner.reset_dead_codes has \['every'\]: expected \['share'"),
        (dict(share=0), 'Owner.reset_dead_codes.share=0: expected a share'),
        (dict(share=1.5), 'share=1.5'),
        (dict(min_tokens=0), 'min_tokens=0: expected more than 0'),
        (dict(interval=0), 'interval=0: expected an integer >= 1'),
        (dict(interval=2.5), 'interval=2.5'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        DeadCodeReset(wrong, 'Owner')


def test_a_full_window_that_is_too_small__is_named_once(monkeypatch):
    """Else dead codes stay dead without a word."""
    told = []
    monkeypatch.setattr(revival_module, 'print_log', lambda text, **kwargs: told.append(text))
    revival = DeadCodeReset(dict(min_tokens=10, interval=1), 'Owner')
    own = usage([0, 0, 3, 15], window=2)
    revival.dead(own)
    assert not told  # a step of two has come
    own.counts[1] = torch.tensor([0, 0, 3, 15])
    for _ in range(3):
        assert revival.dead(own) is None
    assert len(told) == 1
    assert 'Owner.reset_dead_codes never brings a code back: the 2 steps' in told[0]
    assert '9 tokens for each of 4 codes' in told[0] and 'set usage_window=3' in told[0]
    revival = DeadCodeReset(dict(min_tokens=9, interval=1), 'Owner')
    assert revival.dead(own) is not None and len(told) == 1
