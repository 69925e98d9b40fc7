"""What is read from mmpretrain's and mmseg's own heads is what their losses are made of."""

import mmseg.models  # noqa: F401
import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmpretrain.models import LinearClsHead
from mmpretrain.structures import DataSample
from mmseg.models.decode_heads import FCNHead
from mmseg.structures import SegDataSample

from beit_mm.contracts import MIMHead, TokenSource
from beit_mm.engine.guards.watched_head import Seen, watched_head


def read(model, call):
    """All that the watched module's calls say during ``call``."""
    head, seen = watched_head(model), []
    stop = head.watch(seen.append)
    result = call()
    stop()
    call()  # is not seen
    return head, seen, result


def holder(**parts):
    model = nn.Module()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def mean_loss(seen):
    return seen.loss[0] / seen.loss[1]


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss'),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ],
)
def test_classifier(loss):
    torch.manual_seed(0)
    head = LinearClsHead(5, 8, loss=dict(loss, _scope_='mmpretrain'))
    samples = [DataSample().set_gt_label(label) for label in (3, 0, 4, 4)]
    feats = torch.randn(4, 8)
    watched, (seen,), losses = read(holder(head=head), lambda: head.loss((feats,), samples))
    assert (watched.name, watched.unit) == ('model.head', 'images')
    assert torch.allclose(mean_loss(seen), losses['loss'])
    answers = head.fc(feats).argmax(1)
    assert seen.predicted.tolist() == torch.bincount(answers, minlength=5).tolist()
    assert seen.targets.tolist() == [1, 0, 0, 1, 2]
    assert seen.largest.tolist() == [seen.predicted.max(), 2]
    assert not seen.loss.requires_grad


def test_classifier__mixed_labels():
    torch.manual_seed(0)
    head = LinearClsHead(
        5, 8, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, _scope_='mmpretrain')
    )
    scores = torch.rand(4, 5).softmax(1)
    samples = [DataSample().set_gt_score(score) for score in scores]
    feats = torch.randn(4, 8)
    _, (seen,), losses = read(holder(head=head), lambda: head.loss((feats,), samples))
    assert torch.allclose(seen.targets, scores.sum(0))
    assert torch.allclose(seen.masses[0], (0.9 * scores + 0.1 / 5).sum(0))
    assert torch.allclose(mean_loss(seen), losses['loss'])


def segmentation(size, weights=None, batch=2):
    # mmseg divides by what isn't ignored in both cases, and fails if asked to with weights
    loss = dict(type='CrossEntropyLoss', class_weight=weights, avg_non_ignore=weights is None)
    head = FCNHead(
        in_channels=8,
        channels=8,
        num_classes=3,
        num_convs=0,
        concat_input=False,
        norm_cfg=None,
        dropout_ratio=0.0,
        loss_decode=dict(loss, _scope_='mmseg'),
    )
    labels = torch.randint(0, 3, (batch, size, size))
    labels[:, : size // 4] = 255
    samples = [SegDataSample() for _ in range(batch)]
    for sample, label in zip(samples, labels, strict=True):
        sample.gt_sem_seg = PixelData(data=label[None])
    feats = torch.randn(batch, 8, size, size)
    watched, (seen,), losses = read(
        holder(backbone=nn.Identity(), decode_head=head),
        lambda: head.loss([feats], samples, {}),
    )
    return watched, seen, losses['loss_ce'], labels


@pytest.mark.parametrize('weights', [None, [0.1, 1.0, 2.0]])
def test_segmentor__ignored_pixels_and_weights(weights):
    torch.manual_seed(0)
    watched, seen, loss, labels = segmentation(16, weights)
    assert (watched.name, watched.unit) == ('model.decode_head', 'pixels')
    asked = torch.bincount(labels[labels != 255], minlength=3)
    assert torch.equal(seen.targets, asked.float())
    assert seen.predicted.sum() == asked.sum()
    scale = torch.ones(3) if weights is None else torch.tensor(weights)
    assert torch.allclose(seen.masses, torch.stack([asked, asked * scale]))
    assert torch.allclose(mean_loss(seen), loss, rtol=1e-5)


def test_segmentor__of_many_pixels_a_grid():
    torch.manual_seed(0)
    _, seen, loss, _ = segmentation(200)
    assert 0.7 * 2000 < seen.predicted.sum() <= 4096  # a quarter is ignored
    assert torch.allclose(mean_loss(seen), loss, rtol=0.05)


class Head(MIMHead):
    """What the contract asks for; ``aim`` is what its loss is called."""

    def __init__(self, classes, loss='loss'):
        super().__init__()
        self.fc, self.name = nn.Linear(2, classes), loss

    def loss(self, features, targets):
        return {self.name: F.cross_entropy(self.predict(features), targets)}

    def predict(self, features):
        return self.fc(features)


class Masked(nn.Module, TokenSource):
    def __init__(self, head, vocab_size):
        super().__init__()
        self.vocab_size, self.token_head = vocab_size, head


@pytest.mark.parametrize('name', ['loss', 'loss_mim', 'cross_entropy'])
def test_masked_image_model__rows_are_limited_by_the_vocabulary(name):
    torch.manual_seed(0)
    head, feats, targets = Head(6, name), torch.randn(50, 2), torch.randint(6, (50,))
    watched, (seen,), losses = read(Masked(head, 6), lambda: head.loss(feats, targets))
    assert watched.name == 'model.token_head' and not watched.labelled
    answers = torch.bincount(head.predict(feats).argmax(1), minlength=6)
    assert torch.equal(seen.predicted, answers.float())
    assert torch.equal(seen.targets, torch.bincount(targets, minlength=6).float())
    assert torch.allclose(mean_loss(seen), losses[name]) and seen.loss[1] == 50
    assert torch.equal(seen.masses, seen.targets.expand(2, -1))
    big, feats, targets = Head(8192), torch.randn(2000, 2), torch.randint(8192, (2000,))
    _, (seen,), losses = read(Masked(big, 8192), lambda: big.loss(feats, targets))
    assert 400 < seen.predicted.sum() <= 512
    assert seen.targets.sum() == 2000 and torch.allclose(mean_loss(seen), losses['loss'])
    assert watched.read(torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), {}) is None


def test_masked_image_model__a_batch_that_is_left_out():
    watched = watched_head(Masked(Head(6), 6))
    losses = dict(loss=torch.tensor(torch.nan))
    seen = watched.read(torch.randn(5, 2), torch.zeros(5, dtype=torch.long), losses)
    assert seen.loss.tolist() == [0, 0] and seen.masses.sum() == 0 and seen.targets.sum() == 5


def test_numbers__round_trip():
    parts = (torch.rand(3), torch.rand(3), torch.rand(2), torch.rand(2), torch.rand(2, 3))
    again = Seen.unflatten(Seen(*parts).flatten())
    for value, part in zip(vars(again).values(), parts, strict=True):
        assert torch.equal(value, part)


def test_nothing_to_watch():
    assert watched_head(holder(encoder=nn.Linear(2, 2))) is None
    assert watched_head(Masked(Head(2), None)) is None  # continuous targets
    assert watched_head(Masked(nn.Linear(2, 2), 2)) is None
    many = LinearClsHead(
        5, 8, loss=dict(type='CrossEntropyLoss', use_sigmoid=True, _scope_='mmpretrain')
    )
    assert watched_head(holder(head=many)) is None


def test_read__keeps_the_training_as_it_is():
    """No random number is drawn."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    logits = torch.arange(12.0).view(4, 3)
    loss = nn.CrossEntropyLoss()
    head = watched_head(holder(head=holder(loss_module=loss)))
    seen = head.read(logits, torch.tensor([0, 1, 2, 0]))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(mean_loss(seen), F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])))


def test_read__an_ignored_id_may_be_a_class():
    head = watched_head(holder(head=holder(loss_module=nn.CrossEntropyLoss())))
    seen = head.read(torch.zeros(3, 3), torch.tensor([0, 1, -1]), ignore_index=1)
    assert seen.targets.tolist() == [1, 0, 0]


class Projector(Head):
    """A head that changes, and draws, when it predicts in training."""

    def __init__(self):
        super().__init__(3)
        self.norm, self.dropout = nn.BatchNorm1d(2), nn.Dropout(0.5)
        self.fixed = nn.BatchNorm1d(2).eval()

    def predict(self, features):
        return super().predict(self.fixed(self.dropout(self.norm(features))))


def test_masked_image_model__a_look_changes_nothing():
    head, feats, targets = Projector(), torch.randn(8, 2), torch.randint(3, (8,))
    watched = watched_head(Masked(head, 3))
    modes = [part.training for part in head.modules()]
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    watched.read(feats, targets, dict(loss=torch.zeros(())))
    assert torch.equal(torch.rand(1), expected)
    assert modes == [part.training for part in head.modules()]
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.state_dict().items())
