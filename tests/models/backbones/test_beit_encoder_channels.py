"""Loading weights that were trained on images with another number of channels."""

import pytest
import torch

from beit_mm.models import BEiTEncoder

ARCH = dict(embed_dims=16, num_layers=2, num_heads=2)


def encoder(channels: int, **options) -> BEiTEncoder:
    return BEiTEncoder(ARCH, img_size=32, in_channels=channels, **options).eval()


def test_new_channels_of_zeros__keep_the_function_of_the_old_ones():
    rgb = encoder(3)
    more = encoder(5, adapt_channels=[None, 0, 1, 2, None])
    more.load_state_dict(rgb.state_dict())
    images = torch.randn(2, 5, 32, 48)
    assert torch.allclose(more(images)[0], rgb(images[:, 1:4])[0], atol=1e-6)


@pytest.mark.parametrize('channels, method', [(1, 'mean'), (7, 'mean'), (6, 'tile')])
def test_equal_channels__give_the_features_they_gave(channels, method):
    rgb, other = encoder(3), encoder(channels, adapt_channels=method)
    other.load_state_dict(rgb.state_dict())
    gray = torch.randn(2, 1, 32, 32)
    before, after = (m(gray.expand(-1, m.in_channels, -1, -1))[0] for m in (rgb, other))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_without_a_method__the_checkpoint_is_refused():
    with pytest.raises(ValueError, match=r'3 channels, but backbone.in_channels=5; .*0, 1, 2, Non'):
        encoder(5).load_state_dict(encoder(3).state_dict())
    with pytest.raises(ValueError, match=r'for example \[0\]'):
        encoder(1).load_state_dict(encoder(3).state_dict())


def test_same_channels__are_left_alone():
    rgb, other = encoder(3), encoder(3, adapt_channels='mean')
    other.load_state_dict(rgb.state_dict())
    assert torch.equal(other.patch_embed['proj'].weight, rgb.patch_embed['proj'].weight)
