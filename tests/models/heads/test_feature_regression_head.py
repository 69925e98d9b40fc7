import pytest
import torch
import torch.nn.functional as F

from beit_mm.models.heads import FeatureRegressionHead


@pytest.mark.parametrize(
    'error, reference',
    [
        ('mse', F.mse_loss),
        ('l1', F.l1_loss),
        ('smooth_l1', F.smooth_l1_loss),
        ('cosine', lambda a, b: (1 - (F.normalize(a) * F.normalize(b)).sum(1)).mean()),
    ],
)
def test_loss__against_torch_and_equal_to_the_mean_of_the_errors(error, reference):
    own = FeatureRegressionHead(target_dims=5, dims=6, error=error, init_std=1.0)
    feats, targets = torch.randn(7, 6), torch.randn(7, 5)
    loss = own.loss(feats, targets)['loss']
    torch.testing.assert_close(loss, reference(own.predict(feats), targets))
    torch.testing.assert_close(loss, own.error(own.predict(feats), targets).mean())


def test_nothing_masked__zero_but_connected():
    own = FeatureRegressionHead(target_dims=5, dims=6)
    own.loss(torch.randn(0, 6), torch.randn(0, 5))['loss'].backward()
    assert own.proj.weight.grad is not None


def test_unknown_error__named():
    with pytest.raises(ValueError, match="error='huber'.*'cosine'"):
        FeatureRegressionHead(target_dims=5, dims=6, error='huber')


def test_predict__float32_under_autocast():
    own = FeatureRegressionHead(target_dims=5, dims=6)
    with torch.autocast('cpu', torch.bfloat16):
        assert own.predict(torch.randn(2, 6)).dtype == torch.float32


@pytest.mark.parametrize('std', [0.02, 0.5])
def test_init__is_truncated_at_one_sigma(std):
    weight = FeatureRegressionHead(target_dims=50, dims=60, init_std=std).proj.weight
    assert 0.95 * std < weight.abs().max() <= std
