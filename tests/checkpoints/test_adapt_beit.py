"""Checkpoints of other sizes, channels and tasks, loaded into an encoder."""

import pytest
import torch
from mmengine.runner import load_checkpoint

from beit_mm.checkpoints.adapt_beit import adapt_beit
from beit_mm.models import BEiTEncoder

ARCH = dict(embed_dims=32, num_layers=3, num_heads=2)


def encoder(**kwargs) -> BEiTEncoder:
    return BEiTEncoder(**dict(dict(arch=ARCH, img_size=32, patch_size=8), **kwargs))


def randomised(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.2)
    return module.eval()


# ---- positions ----


def test_load__shared_table_to_every_layer_gives_the_same_features(tmp_path):
    shared = randomised(encoder())
    path = tmp_path / 'pretrained.pth'
    torch.save({'state_dict': {f'backbone.{k}': v for k, v in shared.state_dict().items()}}, path)
    init_cfg = dict(type='Pretrained', checkpoint=str(path), prefix='backbone.')
    per_layer = encoder(rel_pos='per_layer', init_cfg=init_cfg)
    per_layer.init_weights()
    x = torch.randn(1, 3, 32, 32)
    assert torch.allclose(per_layer.eval()(x)[0], shared(x)[0], atol=1e-6)


@pytest.mark.parametrize('target', [(64, 64), (48, 64)])
def test_load__other_size_equals_resizing_at_run_time(tmp_path, target):
    small = randomised(encoder(abs_pos=True))
    path = tmp_path / 'small.pth'
    torch.save(small.state_dict(), path)
    big = encoder(abs_pos=True, img_size=target).eval()
    load_checkpoint(big, str(path), strict=True)
    x = torch.randn(1, 3, *target)
    assert torch.allclose(big(x)[0], small(x)[0], atol=1e-5)


def test_load__rectangular_source_must_be_named():
    wide = encoder(img_size=(32, 48))
    with pytest.raises(ValueError, match='pretrained_img_size'):
        encoder(img_size=64).load_state_dict(wide.state_dict())
    encoder(img_size=64, pretrained_img_size=(32, 48)).load_state_dict(wide.state_dict())


def test_load__grid_with_as_many_positions_is_resized_once(tmp_path):
    wide = randomised(encoder(abs_pos=True, img_size=(32, 64)))
    path = tmp_path / 'wide.pth'
    torch.save(wide.state_dict(), path)
    start = dict(type='Pretrained', checkpoint=str(path))
    options = dict(abs_pos=True, img_size=(64, 32), pretrained_img_size=(32, 64))
    tall = encoder(**options, init_cfg=start)
    tall.init_weights()
    x = torch.randn(1, 3, 64, 32)
    expected = wide.eval()(x)[0]
    assert torch.allclose(tall.eval()(x)[0], expected, atol=1e-5)
    resumed = encoder(**options)  # its own checkpoint has its own grid
    resumed.load_state_dict(tall.state_dict())
    assert torch.allclose(resumed.eval()(x)[0], expected, atol=1e-5)


# ---- names ----


def test_names_outside_of_the_prefix__are_left_alone():
    """'pyramids.' has as many letters as 'backbone.', whose names of mmpretrain are dropped."""
    others = {'pyramids.layers.0.weight': torch.ones(1), 'x.relative_position_index': torch.ones(1)}
    own = {f'backbone.{n}': t for n, t in encoder().state_dict().items()}
    theirs = {'backbone.layers.0.ln1.weight': torch.ones(1)}
    index = {'backbone.blocks.0.attn.relative_position_index': torch.ones(1)}
    state = {**own, **others, **theirs, **index}
    adapt_beit(encoder(), state, 'backbone.')
    assert state.keys() == {**own, **others}.keys()


# ---- channels ----


def of_channels(channels: int, **options) -> BEiTEncoder:
    return encoder(in_channels=channels, **options).eval()


def test_new_channels_of_zeros__keep_the_function_of_the_old_ones():
    rgb = of_channels(3)
    more = of_channels(5, adapt_channels=[None, 0, 1, 2, None])
    more.load_state_dict(rgb.state_dict())
    images = torch.randn(2, 5, 32, 48)
    assert torch.allclose(more(images)[0], rgb(images[:, 1:4])[0], atol=1e-6)


@pytest.mark.parametrize('channels, method', [(1, 'mean'), (7, 'mean'), (6, 'tile')])
def test_equal_channels__give_the_features_they_gave(channels, method):
    rgb, other = of_channels(3), of_channels(channels, adapt_channels=method)
    other.load_state_dict(rgb.state_dict())
    gray = torch.randn(2, 1, 32, 32)
    before, after = (m(gray.expand(-1, m.in_channels, -1, -1))[0] for m in (rgb, other))
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_without_a_method__the_checkpoint_is_refused():
    with pytest.raises(ValueError, match=r'3 channels, but backbone.in_channels=5; .*0, 1, 2, Non'):
        of_channels(5).load_state_dict(of_channels(3).state_dict())
    with pytest.raises(ValueError, match=r'for example \[0\]'):
        of_channels(1).load_state_dict(of_channels(3).state_dict())


def test_same_channels__are_left_alone():
    rgb, other = of_channels(3), of_channels(3, adapt_channels='mean')
    other.load_state_dict(rgb.state_dict())
    assert torch.equal(other.patch_embed['proj'].weight, rgb.patch_embed['proj'].weight)
