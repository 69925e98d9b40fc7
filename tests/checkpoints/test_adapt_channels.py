import pytest
import torch
from timm.models._manipulate import adapt_input_conv

from beit_mm.checkpoints.adapt_beit import adapt_patch_weight


@pytest.mark.parametrize('channels', [2, 3, 4, 6, 13])
def test_tile__equals_timm(channels):
    weight = torch.randn(5, 3, 4, 4)
    expected = adapt_input_conv(channels, weight)
    torch.testing.assert_close(adapt_patch_weight(weight, channels, 'tile'), expected)

    expected = adapt_input_conv(1, weight)
    torch.testing.assert_close(adapt_patch_weight(weight, 1, 'mean'), expected)


@pytest.mark.parametrize('old, channels', [(3, 1), (3, 5), (1, 4), (4, 3)])
def test_mean__keeps_the_embedding_of_equal_channels(old, channels):
    weight = torch.randn(5, old, 4, 4)
    gray = torch.randn(2, 1, 8, 8)
    before = torch.conv2d(gray.expand(-1, old, -1, -1), weight, stride=4)
    new = adapt_patch_weight(weight, channels, 'mean')
    after = torch.conv2d(gray.expand(-1, channels, -1, -1), new, stride=4)
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)


def test_per_band__each_channel_from_where_it_says():
    weight = torch.randn(5, 3, 4, 4)
    new = adapt_patch_weight(weight, 4, [2, None, 'mean', 0])
    assert torch.equal(new[:, 0], weight[:, 2])
    assert not new[:, 1].any()
    torch.testing.assert_close(new[:, 2], weight.mean(1))
    assert torch.equal(new[:, 3], weight[:, 0])


@pytest.mark.parametrize('method', ['median', [0, 1], [0, 1, 2, 3], [0, 1, 2, -1], 5])
def test_mistakes__named(method):
    with pytest.raises(ValueError, match='backbone.adapt_channels'):
        adapt_patch_weight(torch.randn(5, 3, 4, 4), 4, method)
