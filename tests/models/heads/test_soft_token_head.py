import pytest
import torch
import torch.nn.functional as F

from beit_mm.models.heads import SoftTokenHead, VisualTokenHead
from beit_mm.models.heads.soft_token_head import neighbor_targets

FEATS = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
IDS = torch.tensor([0, 3, 3, 7, 1])


def head(**kwargs):
    own = SoftTokenHead(vocab_size=8, dims=6, init_std=1.0, **kwargs)
    torch.nn.init.normal_(own.proj.weight)
    return own


def test_ids__are_torch_s_label_smoothing():
    own = head(smoothing=0.3)
    got = own.loss(FEATS, IDS)
    logits = own.predict(FEATS)
    torch.testing.assert_close(got['loss'], F.cross_entropy(logits, IDS, label_smoothing=0.3))
    torch.testing.assert_close(got['cross_entropy'], F.cross_entropy(logits, IDS))


@pytest.mark.parametrize('target', ['ids', 'neighbors', 'posterior'])
def test_no_smoothing__is_the_visual_token_head(target):
    own, hard = head(smoothing=0.0, target=target), VisualTokenHead(8, 6)
    hard.load_state_dict(own.state_dict())
    extras = {}
    for name in own.needs:
        extras[name] = dict(codebook=torch.randn(8, 3), posterior=torch.rand(5, 8))[name]
    got = own.loss(FEATS, IDS, **extras)
    torch.testing.assert_close({n: got[n] for n in ('loss', 'acc')}, hard.loss(FEATS, IDS))


def test_posterior_alone__is_its_cross_entropy_and_best_where_they_agree():
    own = head(target='posterior', smoothing=1.0, temperature=1.0)
    posterior = torch.randn(5, 8).softmax(-1)
    expected = F.cross_entropy(own.predict(FEATS), posterior)
    torch.testing.assert_close(own.loss(FEATS, IDS, posterior=posterior)['loss'], expected)


def test_neighbors__nearer_codes_weigh_more_whatever_the_scale_of_the_codebook():
    codes = torch.tensor([[0.0, 0], [1, 0], [0, 2], [5, 5]])
    got = neighbor_targets(torch.tensor([0, 3]), codes, temperature=0.3)
    distances = torch.tensor([[0.0, 1, 4, 50], [50, 41, 34, 0]])
    mean = torch.cdist(codes, codes).square().mean()
    expected = torch.exp(-distances / (0.3 * mean))
    expected[[0, 1], [0, 3]] = 0
    torch.testing.assert_close(got, expected / expected.sum(1, keepdim=True))
    assert got[0, 1] > got[0, 2] > got[0, 3] and got[0, 0] == 0
    torch.testing.assert_close(got, neighbor_targets(torch.tensor([0, 3]), 100 * codes, 0.3))


def test_posterior__sharpened_to_the_argmax_by_a_small_temperature():
    own = head(target='posterior', temperature=1e-3)
    posterior = torch.tensor([[0.2, 0.5, 0.3, 0, 0, 0, 0, 0]])
    torch.testing.assert_close(
        own.distribution(IDS[:1], posterior=posterior), F.one_hot(torch.tensor([[1]]), 8)[0].float()
    )


def test_nothing_masked__zero_but_connected():
    own = head()
    got = own.loss(FEATS[:0], IDS[:0])
    got['loss'].backward()
    assert got['loss'] == 0 and own.proj.weight.grad is not None


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(target='soft'), "target='soft'"),
        (dict(positions='visible'), "positions='visible'"),
        (dict(smoothing=1.5), 'smoothing=1.5'),
        (dict(temperature=0.0), 'temperature=0.0'),
    ],
)
def test_arguments__named_in_errors(wrong, message):
    with pytest.raises(ValueError, match=message):
        head(**wrong)


def test_neighbors__all_codes_alike_share_the_mass():
    """As in a collapsed codebook: finite, and nothing for the code itself."""
    got = neighbor_targets(torch.tensor([1]), torch.ones(4, 3), temperature=0.1)
    torch.testing.assert_close(got, torch.tensor([[1.0, 0, 1, 1]]) / 3)


def test_temperature__by_default_leaves_the_posterior_as_it_is():
    posterior = torch.randn(5, 8).softmax(-1)
    plain = head(target='posterior').distribution(torch.zeros(5), posterior=posterior)
    torch.testing.assert_close(plain, posterior)
    codes, ids = torch.randn(8, 3), torch.arange(5)
    given = head(target='neighbors', temperature=0.1).distribution(ids, codes)
    assert torch.equal(head(target='neighbors').distribution(ids, codes), given)
