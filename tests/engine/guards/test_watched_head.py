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

from beit_mm.engine.guards.watched_head import watched_head


def read(model, call):
    """All that the watched module's calls say during ``call``."""
    head, seen = watched_head(model), []
    hook = head.module.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(head.read(args, kwargs, output)),
        with_kwargs=True,
    )
    result = call()
    hook.remove()
    return head, seen, result


def holder(**parts):
    model = nn.Module()
    for name, part in parts.items():
        setattr(model, name, part)
    return model


def mean_loss(seen):
    weights = torch.ones(seen.logits.shape[1]) if seen.weights is None else seen.weights
    mass = seen.smoothed * weights
    return -(mass * seen.logits.log_softmax(1)).sum() / mass.sum()


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
    watched, (seen,), losses = read(
        holder(head=head), lambda: head.loss((torch.randn(4, 8),), samples)
    )
    assert (watched.name, watched.unit) == ('model.head', 'images')
    assert torch.allclose(mean_loss(seen), losses['loss'])
    assert torch.equal(seen.targets.argmax(1), torch.tensor([3, 0, 4, 4]))
    assert torch.equal(seen.targets.sum(1), torch.ones(4))
    assert not seen.logits.requires_grad


def test_classifier__mixed_labels():
    torch.manual_seed(0)
    head = LinearClsHead(
        5, 8, loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, _scope_='mmpretrain')
    )
    scores = torch.rand(4, 5).softmax(1)
    samples = [DataSample().set_gt_score(score) for score in scores]
    _, (seen,), losses = read(holder(head=head), lambda: head.loss((torch.randn(4, 8),), samples))
    assert torch.equal(seen.targets, scores)
    assert torch.allclose(seen.smoothed, 0.9 * scores + 0.1 / 5)
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
    assert len(seen.logits) == labels.numel()
    assert torch.equal(seen.targets.sum(1) == 0, labels.flatten() == 255)
    assert torch.allclose(mean_loss(seen), loss, rtol=1e-5)


def test_segmentor__of_many_pixels_a_grid():
    torch.manual_seed(0)
    _, seen, loss, _ = segmentation(200)
    assert 2000 < len(seen.logits) <= 4096
    assert torch.allclose(mean_loss(seen), loss, rtol=0.05)


def masked_image_model(classes, rows):
    proj = nn.Linear(2, classes)
    head = holder(proj=proj)
    head.vocab_size = classes
    model = holder(tokenizer=nn.Identity(), head=head)
    model.usage_counts = lambda: torch.ones(classes)
    return read(model, lambda: proj(torch.randn(rows, 2)))


def test_masked_image_model__rows_are_limited_by_the_vocabulary():
    watched, (seen,), logits = masked_image_model(6, 50)
    assert torch.equal(seen.logits, logits) and seen.targets is None and not watched.is_loss
    _, (seen,), logits = masked_image_model(8192, 2000)
    assert seen.logits.numel() <= 2**22 and 400 < len(seen.logits) <= 512
    assert watched.read((torch.zeros(0, 2),), {}, torch.zeros(0, 6)) is None


def test_nothing_to_watch():
    assert watched_head(holder(encoder=nn.Linear(2, 2))) is None
    regression = holder(tokenizer=nn.Identity(), head=holder(proj=nn.Linear(2, 2)))
    regression.head.vocab_size = None
    regression.usage_counts = lambda: None
    assert watched_head(regression) is None
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
    seen = head.read((logits, torch.tensor([0, 1, 2, 0])), {}, None)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(mean_loss(seen), F.cross_entropy(logits, torch.tensor([0, 1, 2, 0])))


def test_read__an_ignored_id_may_be_a_class():
    head = watched_head(holder(head=holder(loss_module=nn.CrossEntropyLoss())))
    seen = head.read((torch.zeros(3, 3), torch.tensor([0, 1, -1])), dict(ignore_index=1), None)
    assert seen.targets.sum(1).tolist() == [1, 0, 0]
