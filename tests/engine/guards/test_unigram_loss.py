import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from small_runs import small_run, told, train

from beit_mm.contracts import MIMHead, TokenSource
from beit_mm.engine import PredictionGuardHook, UnhealthyTrainingError
from beit_mm.engine.guards.constant_prediction import ConstantPrediction
from beit_mm.engine.guards.unigram_loss import UnigramLoss
from beit_mm.engine.guards.watched_head import LossHead, Seen, TokenHead

GUARD = dict(type='beit_mm.PredictionGuardHook', interval=20, grace=10)


@pytest.fixture(autouse=True)
def no_constants(monkeypatch):
    """Constant answers have their own tests."""
    monkeypatch.setattr(ConstantPrediction, 'judge', lambda *args: None)


def test_healthy__nothing_to_tell(tmp_path):
    for interval in (1, 20):
        run = train(tmp_path / str(interval), dict(GUARD, interval=interval))
        assert told(run) == []


def test_shuffled_labels__no_better_than_the_unigram_entropy(tmp_path):
    """Of 64 points with random labels, a linear model can't learn much at a small rate."""
    optim = dict(optimizer=dict(type='SGD', lr=0.01))
    run = train(tmp_path, GUARD, data=dict(labels='shuffled', size=640), optim_wrapper=optim)
    (message,) = told(run)
    loss, entropy = map(float, (w.strip(',') for w in message.split() if w[:3] in ('1.3', '1.4')))
    assert 0.99 * entropy < loss < 1.1 * entropy
    assert entropy == pytest.approx(math.log(4), abs=0.02)
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


def test_constant_targets__are_nothing_to_learn(tmp_path):
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


class Head(MIMHead):
    """What the contract asks for, and no layer."""

    def loss(self, features, targets):
        return dict(loss_soft=features.sum() + 5, cross_entropy=F.cross_entropy(features, targets))

    def predict(self, features):
        return features


class MaskedModel(torch.nn.Module, TokenSource):
    """What the guard asks of a masked image model; its features are the logits."""

    def __init__(self, classes):
        super().__init__()
        self.vocab_size, self.head = classes, Head()


class Runner:
    param_schedulers, max_iters, cfg = (), 100, {}
    train_dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))

    def __init__(self, model):
        self.model, self.iter, self.written = model, 0, []
        self.logger = type('Logger', (), dict(warning=staticmethod(self.written.append)))


def masked(loss, counts=(100, 100, 100, 100), scale=1.0, **settings):
    """Messages about steps with the mean cross-entropy ``loss``, whose answers alternate."""
    targets = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    # Logits of 0 and one of the target that gives each row this loss.
    right = math.log(len(counts) - 1) - math.log(math.expm1(loss)) if loss == loss else loss
    logits = right * F.one_hot(targets, len(counts)).float()
    logits += 1e-3 * torch.eye(len(counts)).repeat(len(targets), 1)[: len(targets)]
    runner = Runner(MaskedModel(len(counts)))
    guard = PredictionGuardHook(**{**dict(interval=1, grace=10), **settings})
    guard.before_train(runner)
    for runner.iter in range(30):
        guard.before_train_iter(runner, 0)
        losses = runner.model.head.loss(logits, targets)
        guard.after_train_iter(runner, 0, outputs=losses)
    assert 'loss' not in vars(runner.model.head)
    return runner.written


def test_masked_image_model__by_its_cross_entropy():
    entropy = math.log(4)
    (message,) = masked(1.02 * entropy)
    assert f'Step 20: the cross-entropy of model.head is {1.02 * entropy:.3g}' in message
    assert 'token_inputs show the same crop' in message
    assert len(masked(0.995 * entropy)) == 1  # half a percent better is no better
    assert masked(0.98 * entropy) == []
    assert masked(0.995 * entropy, min_gap=0.0) == []
    assert masked(float('nan')) == []


def test_masked_image_model__few_targets_look_less_spread_than_they_are():
    """60 tokens of a uniform vocabulary of 10: their entropy is below ln 10, the loss not."""
    counts = torch.tensor([9.0, 3, 6, 8, 2, 7, 5, 9, 6, 5])
    head = TokenHead('model.head', 'masked patches', Head())
    for factor, found in ((0.985, False), (1.05, True)):
        loss = torch.tensor([factor * math.log(10) * 60, 60.0])
        seen = Seen(counts, counts, torch.zeros(2), loss, counts.expand(2, -1).double())
        assert (UnigramLoss(0.0).judge(head, seen, 0) is not None) == found


def test_stop(tmp_path):
    with pytest.raises(UnhealthyTrainingError, match='Step 40: the cross-entropy of model.head'):
        train(
            tmp_path,
            dict(GUARD, action='stop'),
            model=dict(type='PointClassifier', broken='blind'),
        )


def test_unigram_entropy__is_that_of_all_targets_since_the_beginning():
    """A hundred of one class, then a hundred of another: ln 2, not 0."""
    check, head = UnigramLoss(0.01), LossHead('model.head', 'images', torch.nn.Identity())
    symptoms = [
        check.judge(
            head,
            Seen(counts, counts, torch.zeros(2), torch.tensor([70.0, 100.0]), counts.expand(2, -1)),
            0,
        )
        for counts in torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    ]
    assert symptoms[0] is None  # nothing to choose
    text = symptoms[1].text
    assert (
        'is 0.7, and the unigram entropy (always the same prediction, the best one) is 0.69' in text
    )
