import math

import pytest
import torch

from beit_mm.contracts import UserError
from beit_mm.models import VisualTokenHead


def test_loss_and_accuracy__closed_form():
    """Logits of a for the right token and 0 for the others, right in 3 of 4 rows."""
    head = VisualTokenHead(vocab_size=5, dims=5)
    a = 2.0
    with torch.no_grad():
        head.proj.weight.copy_(a * torch.eye(5))
        head.proj.bias.zero_()
    targets = torch.tensor([0, 3, 4, 1])
    feats = torch.eye(5)[torch.tensor([0, 3, 4, 2])]
    partition = math.log(math.exp(a) + 4)
    out = head.loss(feats, targets)
    assert out['loss'].item() == pytest.approx(partition - 3 * a / 4, rel=1e-6)
    assert out['acc'].item() == pytest.approx(75)
    assert out.keys() == {'loss', 'acc'}


def test_loss__gradient_is_softmax_minus_one_hot():
    head = VisualTokenHead(vocab_size=7, dims=4)
    feats, targets = torch.randn(6, 4), torch.randint(7, (6,))
    head.loss(feats, targets)['loss'].backward()
    probabilities = (feats @ head.proj.weight.T + head.proj.bias).softmax(1).detach()
    error = (probabilities - torch.eye(7)[targets]) / 6
    torch.testing.assert_close(head.proj.weight.grad, error.T @ feats)
    torch.testing.assert_close(head.proj.bias.grad, error.sum(0))


def test_uniform_logits__cost_ln_v():
    head = VisualTokenHead(vocab_size=11, dims=3)
    loss = head.loss(torch.zeros(4, 3), torch.arange(4))['loss']
    assert loss.item() == pytest.approx(math.log(11), rel=1e-6)


def test_no_rows__zero_loss_connected_to_the_graph():
    head = VisualTokenHead(vocab_size=7, dims=4)
    feats = torch.zeros(0, 4, requires_grad=True)
    out = head.loss(feats, torch.zeros(0, dtype=torch.long))
    assert out['loss'] == 0 and out['acc'] == 0
    out['loss'].backward()
    assert not head.proj.weight.grad.any() and feats.grad.shape == (0, 4)


def test_float32_under_autocast():
    head = VisualTokenHead(vocab_size=7, dims=4)
    feats = torch.randn(6, 4)
    with torch.autocast('cpu', torch.bfloat16):
        assert head.proj(feats).dtype == torch.bfloat16
        assert head.predict(feats).dtype == torch.float32
        assert head.loss(feats, torch.zeros(6, dtype=torch.long))['loss'].dtype == torch.float32


def test_init__truncated_at_one_sigma():
    head = VisualTokenHead(vocab_size=512, dims=64, init_std=0.1)
    head.init_weights()
    weight = head.proj.weight
    assert weight.abs().max() <= 0.1
    assert weight.std().item() == pytest.approx(0.054, rel=0.02)
    assert not head.proj.bias.any()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('max_logits', [1, 23, 40, 10**6])
def test_max_logits__same_numbers_and_no_more_of_them_at_a_time(max_logits, dtype):
    """Of 9 patches and 11 tokens: 1, 2 or 3 patches at a time, or all."""
    whole = VisualTokenHead(vocab_size=11, dims=4)
    parts = VisualTokenHead(vocab_size=11, dims=4, max_logits=max_logits)
    parts.load_state_dict(whole.state_dict())
    targets = torch.randint(11, (9,))
    found, kept = [], []
    for head in (whole, parts):
        feats = torch.arange(36.0).view(9, 4).sin().requires_grad_()
        sizes = []
        pack = lambda tensor: (sizes.append(tensor.numel()), tensor)[1]  # noqa: E731, B023
        with (
            torch.autocast('cpu', dtype, enabled=dtype != torch.float32),
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            out = head.loss(feats, targets)
        out['loss'].backward()
        found.append([out['loss'].detach(), out['acc'], feats.grad, head.proj.weight.grad])
        kept.append(max(sizes))
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-2 if dtype != torch.float32 else 1e-5,
                                   atol=1e-3 if dtype != torch.float32 else 1e-6)  # fmt: skip
    assert kept[0] == 99 and (kept[1] < 99) == (max_logits < 99)


def test_max_logits__expects_a_number():
    with pytest.raises(UserError, match='VisualTokenHead.max_logits=0: expected an integer >= 1'):
        VisualTokenHead(vocab_size=11, dims=4, max_logits=0)
