import pytest
import torch

from beit_mm.contracts import errors
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset


def build(counts, window=4, **kwargs) -> DeadCodeReset:
    """After one step with these counts."""
    reset = DeadCodeReset(len(counts), window=window, **dict(dict(interval=1), **kwargs))
    reset.counts[0] = torch.tensor(counts)
    reset.step = 1
    return reset


def test_dead__under_the_share_of_the_mean_and_a_new_judgement_begins():
    reset = build([0, 2, 3, 15], share=0.5, min_tokens=5)
    dead, counts = reset.dead()  # the mean is 5
    assert dead.tolist() == [0, 1] and counts.tolist() == [0, 2, 3, 15]
    assert reset.judged().sum() == 0


def test_judged__the_steps_since_the_last_reset_within_the_window():
    own = DeadCodeReset(2, window=4)
    for _ in range(7):
        own.count(torch.tensor([0, 1, 1]))
    assert own.judged().tolist() == 4 * [[1, 2]]
    own.judged_from = own.step
    for steps in (1, 2, 3, 4, 4):
        own.count(torch.tensor([[0]]))
        assert own.judged().tolist() == steps * [[1, 0]]


def test_resume__judges_as_the_uninterrupted_training():
    own, resumed = (DeadCodeReset(8, interval=3, min_tokens=1, window=4) for _ in range(2))
    for step in range(7):
        own.dead()
        own.count(torch.full((20,), step % 2))
    assert own.judged_from == 5
    resumed.load_training_state(own.training_state())
    assert own.state_dict() == {}
    for _ in range(2):
        for reset in (own, resumed):
            reset.count(torch.zeros(20).long())
        assert torch.equal(own.judged(), resumed.judged())
    assert own.step == resumed.step == 9
    own.step = resumed.step = 8
    assert torch.equal(own.dead()[0], resumed.dead()[0])
    other = DeadCodeReset(8, window=5)
    other.load_training_state(own.training_state())  # of another window: a new one begins
    assert other.step == 0 and not other.counts.any()


@pytest.mark.parametrize('counts', [[0, 2, 2, 15], [5, 5, 5, 5]])
def test_dead__too_few_tokens_or_none_dead(counts):
    reset = build(counts, share=0.5, min_tokens=5)
    assert reset.dead() is None
    assert reset.judged().sum() == sum(counts)  # it goes on counting


def test_dead__in_the_last_step_of_each_interval():
    found = []
    for step in range(9):
        reset = build([0, 40], interval=3, min_tokens=1)
        reset.step = step
        found.append(reset.dead() is not None)
    assert found == [False, False, True] * 3


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(every=3), r"^reset_dead_codes has \['every'\]: expected \['share'"),
        (dict(share=0), '^reset_dead_codes.share=0: expected a share'),
        (dict(share=1.5), 'share=1.5'),
        (dict(min_tokens=0), 'min_tokens=0: expected more than 0'),
        (dict(interval=0), 'interval=0: expected an integer >= 1'),
        (dict(interval=2.5), 'interval=2.5'),
        (dict(window=0), 'window=0: expected an integer >= 1'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        DeadCodeReset.build(wrong, 4)


def test_build__of_a_part_of_the_arguments_or_none():
    assert DeadCodeReset.build(None, 4) is None
    own = DeadCodeReset.build(dict(interval=7), 4)
    assert (own.share, own.min_tokens, own.interval, own.counts.shape) == (0.05, 10, 7, (50, 4))


def test_a_full_window_that_is_too_small__is_named_once(monkeypatch):
    """Else dead codes stay dead without a word."""
    told = []
    monkeypatch.setattr(errors, 'print_log', lambda text, **kwargs: told.append(text))
    own = build([0, 0, 3, 15], window=2, min_tokens=10)
    own.dead()
    assert not told  # a step of two has come
    own.counts[1] = torch.tensor([0, 0, 3, 15])
    for _ in range(3):
        assert own.dead() is None
    assert len(told) == 1
    assert 'reset_dead_codes never resets a code: the 2 steps' in told[0]
    assert '9 tokens for each of 4 codes' in told[0]
    assert 'set reset_dead_codes.window=3' in told[0]
    own.min_tokens = 9
    assert own.dead() is not None and len(told) == 1
