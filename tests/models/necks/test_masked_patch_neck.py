import pytest
import torch
import torch.nn as nn

from beit_mm.models import MaskedPatchNeck

IDS = torch.arange(2 * 3 * 5).view(2, 3, 5)


def tokens_of(ids, dims=4):
    """(B, 1+N, C) whose patch tokens carry their id in all channels, and whose class token -1."""
    patches = ids.flatten(1)[..., None].float()
    return torch.cat([-torch.ones(len(ids), 1, 1), patches], dim=1).expand(-1, -1, dims)


def plain_neck():
    neck = MaskedPatchNeck(4)
    neck.norm = nn.Identity()
    return neck


def test_order__is_that_of_indexing_by_the_mask():
    for _ in range(10):
        mask = torch.rand(2, 3, 5) < 0.4
        feats = plain_neck()((tokens_of(IDS),), mask)
        assert feats.shape == (int(mask.sum()), 4)
        assert torch.equal(feats[:, 0].long(), IDS[mask])


def test_last_output__is_the_one_taken():
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    feats = plain_neck()((tokens_of(IDS + 100), tokens_of(IDS)), mask)
    assert torch.equal(feats[:, 0].long(), IDS.flatten())


@pytest.mark.parametrize('empty', [[0], [0, 1]])
def test_empty_mask(empty):
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    mask[empty] = False
    tokens = tokens_of(IDS).clone().requires_grad_()
    neck = MaskedPatchNeck(4)
    feats = neck((tokens,), mask)
    assert feats.shape == (15 * (2 - len(empty)), 4)
    feats.sum().backward()
    assert not tokens.grad[empty].any()
    assert neck.norm.weight.grad is not None  # connected also when no row is left


def test_norm__of_each_row_by_itself():
    neck = MaskedPatchNeck(8)
    with torch.no_grad():
        neck.norm.weight.uniform_(0.5, 2)
        neck.norm.bias.normal_()
    tokens = torch.randn(1, 5, 8)
    mask = torch.tensor([[[True, False], [False, True]]])
    rows = tokens[0, [1, 4]]
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / (rows.square().mean(1, keepdim=True) + 1e-6).sqrt()
    expected = rows * neck.norm.weight + neck.norm.bias
    torch.testing.assert_close(neck((tokens,), mask), expected)


@pytest.mark.parametrize('shape', [(2, 16, 3, 5), (2, 8, 3, 5), (2, 15, 8), (2, 16)])
def test_other_than_tokens(shape):
    mask = torch.ones(2, 3, 5, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"the N=15 patches .*set model.backbone.out_type='tokens'"
    ):
        MaskedPatchNeck(8)((torch.zeros(shape),), mask)


@pytest.mark.parametrize('eps', [1e-6, 1e-12])
def test_norm_eps__decides_over_faint_tokens(eps):
    neck = MaskedPatchNeck(8) if eps == 1e-6 else MaskedPatchNeck(8, norm_eps=eps)
    tokens = 1e-3 * torch.randn(2, 16, 8)
    feats = neck((tokens,), torch.ones(2, 3, 5, dtype=torch.bool))
    expected = tokens[:, 1:].reshape(-1, 8)
    expected = expected - expected.mean(1, keepdim=True)
    expected = expected / (expected.square().mean(1, keepdim=True) + eps).sqrt()
    torch.testing.assert_close(feats, expected, rtol=1e-4, atol=1e-4)
