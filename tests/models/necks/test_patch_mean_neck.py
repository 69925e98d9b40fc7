import numpy as np
import pytest
import torch

from beit_mm.models import PatchMeanNeck


@pytest.mark.parametrize('eps', [None, 1e-12, 0.1])
def test_equals_numpy_mean_and_norm(eps):
    neck = PatchMeanNeck(6) if eps is None else PatchMeanNeck(6, norm_eps=eps)
    with torch.no_grad():
        neck.norm.weight.uniform_(0.5, 2)
        neck.norm.bias.normal_()
    tokens = 0.01 * torch.randn(3, 11, 6)
    (out,) = neck((torch.randn(3, 11, 6), tokens))
    mean = tokens.numpy()[:, 1:].mean(1)
    mean = mean - mean.mean(1, keepdims=True)
    mean = mean / np.sqrt((mean**2).mean(1, keepdims=True) + (eps or 1e-6))
    expected = mean * neck.norm.weight.detach().numpy() + neck.norm.bias.detach().numpy()
    np.testing.assert_allclose(out.detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_class_token_and_order_of_patches_do_not_matter():
    neck = PatchMeanNeck(6)
    tokens = torch.randn(2, 9, 6)
    other = torch.cat([torch.randn(2, 1, 6), tokens[:, 1:].flip(1)], dim=1)
    torch.testing.assert_close(neck((tokens,)), neck((other,)))


def test_featmap__refused():
    with pytest.raises(ValueError, match="set model.backbone.out_type='tokens'"):
        PatchMeanNeck(6)((torch.zeros(2, 6, 3, 3),))


def test_encoder_without_class_token__all_outputs_count():
    neck = PatchMeanNeck(6, class_token=False)
    tokens = torch.randn(2, 9, 6)
    torch.testing.assert_close(neck((tokens,))[0], neck.norm(tokens.mean(1)))
