import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MessageHub
from small_runs import small_run, told, train

from beit_mm.engine import ChanceLossGuardHook, UnhealthyTrainingError
from beit_mm.engine.guards.watched_head import Seen

GUARD = dict(type='beit_mm.ChanceLossGuardHook', interval=20, grace=10)


def test_healthy__nothing_to_tell(tmp_path):
    for interval in (1, 20):
        run = train(tmp_path / str(interval), dict(GUARD, interval=interval))
        assert told(run) == []


def test_shuffled_labels__no_better_than_chance(tmp_path):
    """Of 64 points with random labels, a linear model can't learn much at a small rate."""
    optim = dict(optimizer=dict(type='SGD', lr=0.01))
    run = train(tmp_path, GUARD, data=dict(labels='shuffled', size=640), optim_wrapper=optim)
    (message,) = told(run)
    loss, chance = map(float, (w.strip(',') for w in message.split() if w[:3] in ('1.3', '1.4')))
    assert 0.99 * chance < loss < 1.1 * chance
    assert chance == pytest.approx(math.log(4), abs=0.02)
    assert 'model.head is' in message and 'images and labels belong together' in message


def test_growing_loss__is_told_again(tmp_path):
    optim = dict(optimizer=dict(type='SGD', lr=0.0))
    run = small_run(tmp_path, GUARD, steps=160, optim_wrapper=optim)
    with torch.no_grad():
        run.model.head.fc.weight.mul_(3)
    step = run.model.train_step

    def worse(*args, **kwargs):
        if run.iter == 100:
            run.model.head.fc.weight.data.mul_(4)
        return step(*args, **kwargs)

    run.model.train_step = worse
    run.train()
    steps = [message.split('Step ')[1].split(':')[0] for message in told(run)]
    assert steps == ['40', '120']


def test_constant_targets__are_no_matter_of_chance(tmp_path):
    assert told(train(tmp_path, GUARD, data=dict(labels='one'))) == []


def test_batches_that_are_left_out__do_not_count(tmp_path, monkeypatch):
    run = small_run(
        tmp_path, [dict(type='beit_mm.NonFiniteGuardHook', max_in_a_row=9), GUARD], steps=40
    )
    linear = run.model.head.fc.forward
    monkeypatch.setattr(
        run.model.head.fc,
        'forward',
        lambda x: linear(x) * (float('nan') if run.iter == 13 else 1.0),
    )
    run.train()
    assert told(run) == []
    assert (tmp_path / 'non_finite_batches.jsonl').exists()


class MaskedModel(torch.nn.Module):
    """What the guard asks of a masked image model."""

    def __init__(self, counts):
        super().__init__()
        self.tokenizer, self.counts = torch.nn.Identity(), torch.tensor(counts)
        self.head = torch.nn.Module()
        self.head.proj, self.head.vocab_size = torch.nn.Linear(2, len(counts)), len(counts)

    def usage_counts(self):
        return self.counts


class Runner:
    param_schedulers, max_iters, cfg = (), 100, {}

    def __init__(self, model):
        self.model, self.iter, self.written = model, 0, []
        self.message_hub = MessageHub.get_instance('chance')
        self.logger = type('Logger', (), dict(warning=staticmethod(self.written.append)))


def masked(gain_over_unigram, chance, counts=(100, 100, 100, 100), **settings):
    runner = Runner(MaskedModel(list(counts)))
    guard = ChanceLossGuardHook(**{**dict(interval=1, grace=10), **settings})
    guard.before_train(runner)
    outputs = dict(gain_over_unigram=torch.tensor(gain_over_unigram), chance=torch.tensor(chance))
    for runner.iter in range(20):
        guard.before_train_iter(runner, 0)
        guard.after_train_iter(runner, 0, outputs=dict(outputs))
    return runner.written


def test_masked_image_model__its_own_figures():
    chance = math.log(4)
    (message,) = masked(-0.02, chance)
    assert f'Step 11: the cross-entropy of model.head is {1.02 * chance:.4g}' in message
    assert 'token_inputs show the same crop' in message
    assert len(masked(0.005, chance)) == 1  # half a percent better is no better
    assert masked(0.02, chance) == []
    assert masked(0.005, chance, min_gap=0.0) == []
    assert masked(float('nan'), chance) == []


def test_masked_image_model__few_targets_look_less_spread_than_they_are():
    """60 tokens of a uniform vocabulary of 10: their entropy is below ln 10, the loss not."""
    counts = [9, 3, 6, 8, 2, 7, 5, 9, 6, 5]
    share = torch.tensor(counts) / sum(counts)
    chance = float(torch.special.entr(share).sum())
    assert masked(1 - 0.985 * math.log(10) / chance, chance, counts, min_gap=0.0) == []
    assert len(masked(1 - 1.05 * math.log(10) / chance, chance, counts)) == 1


def test_stop(tmp_path):
    with pytest.raises(UnhealthyTrainingError, match='Step 40: the cross-entropy of model.head'):
        train(
            tmp_path,
            dict(GUARD, action='stop'),
            model=dict(type='PointClassifier', broken='blind'),
        )


def test_arguments__named_in_errors():
    with pytest.raises(ValueError, match=r'ChanceLossGuardHook.min_gap=1.0: expected in \[0, 1\)'):
        ChanceLossGuardHook(min_gap=1.0)


def test_measure__weighs_classes_as_the_loss_does():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
    labels, weights = torch.tensor([0, 1, 2, 1]), torch.tensor([1.0, 5.0, 0.5])
    targets = F.one_hot(labels, 3).float()
    loss, total, *counts = ChanceLossGuardHook().measure(Seen(logits, targets, targets, weights))
    assert loss / total == pytest.approx(float(F.cross_entropy(logits, labels, weights)))
    assert counts == [1, 2, 1, 1, 10, 0.5]


def test_chance__is_that_of_all_targets_since_the_beginning(monkeypatch):
    """A hundred of one class, then a hundred of another: ln 2, not 0."""
    guard = ChanceLossGuardHook()
    guard.head, guard.begin = SimpleNamespace(is_loss=True, name='model.head'), 0
    windows = [torch.tensor([70.0, 100.0, *counts, *counts]) for counts in ((100, 0), (0, 100))]
    monkeypatch.setattr(guard, 'seen_by_all', lambda: [windows.pop(0)])
    assert guard.check(None) == {}  # nothing to choose
    (symptom,) = guard.check(None).values()
    assert 'is 0.7, and chance (always the same prediction, the best one) has 0.69' in symptom.text
