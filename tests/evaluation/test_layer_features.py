import pytest
import torch

from beit_mm.contracts import Backbone
from beit_mm.evaluation.layer_features import layer_features, split_tokens
from beit_mm.models.backbones import BEiTEncoder


@pytest.mark.parametrize('final_norm', [False, True])
def test_layer_features__are_pooled_tokens_of_each_layer(final_norm):
    arch = dict(embed_dims=16, num_layers=3, num_heads=2)
    encoder = BEiTEncoder(arch, img_size=16, patch_size=8, final_norm=final_norm).eval()
    torch.nn.init.normal_(encoder.rel_pos_bias.relative_position_bias_table)
    images = torch.randn(2, 3, 16, 16)
    found = layer_features(encoder, images)
    assert len(found) == 3
    for layer, pooled in enumerate(found):
        tokens = encoder.layer_tokens(images, layer)
        torch.testing.assert_close(pooled['cls'], tokens[:, 0])
        torch.testing.assert_close(pooled['mean'], tokens[:, 1:].mean(1))
        torch.testing.assert_close(pooled['all'], tokens.mean(1))
    default = Backbone.layer_outputs(encoder, images)
    for one, other in zip(default, encoder.layer_outputs(images), strict=True):
        assert torch.equal(one, other)
    torch.testing.assert_close(encoder(images)[-1], encoder.layer_tokens(images))


@pytest.mark.parametrize('shape', [(2, 6), (2, 6, 3, 4), (2, 13, 6)])
def test_layer_features__any_backbone_has_its_last_output(shape):
    output = torch.randn(shape)
    (found,) = layer_features(lambda images: (output + 1, output), torch.randn(2, 3, 8, 8))
    expected = output if len(shape) == 2 else output.flatten(2).mean(2)
    expected = output[:, 1:].mean(1) if len(shape) == 3 else expected
    torch.testing.assert_close(found['mean'], expected)
    assert ('cls' in found) == (len(shape) == 3)


class Told(Backbone):
    """Gives what it is told, an output for each block."""

    has_layers = True

    def __init__(self, *outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x, mask=None):
        return self.outputs

    def layer_outputs(self, x):
        yield from self.outputs


@pytest.mark.parametrize('has_layers', [False, True])
@pytest.mark.parametrize('shape', [(8, 8), (8, 24), (16, 8)])
def test_tokens__without_class_token_are_all_patches(has_layers, shape):
    h, w = (side // 4 for side in shape)
    tokens = torch.randn(2, h * w, 6)
    backbone = Told(tokens)
    backbone.has_layers = has_layers
    (found,) = layer_features(backbone, torch.randn(2, 3, *shape))
    assert list(found) == ['mean']
    torch.testing.assert_close(found['mean'], tokens.mean(1))
    backbone.outputs = (torch.cat([torch.full((2, 1, 6), 9.0), tokens], 1),)
    (found,) = layer_features(backbone, torch.randn(2, 3, *shape))
    torch.testing.assert_close(found['mean'], tokens.mean(1))
    assert (found['cls'] == 9).all()


def test_class_token__is_told_from_patches_for_every_grid():
    for h in range(1, 20):
        for w in range(1, 20):
            images = torch.empty(0, 3, 16 * h, 16 * w)
            for first in (0, 1):
                patches, token = split_tokens(torch.empty(0, first + h * w, 1), images)
                assert patches.shape == (0, h, w, 1)
                assert (token is not None) == first
