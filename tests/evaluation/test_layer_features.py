import pytest
import torch

from beit_mm.contracts import Backbone
from beit_mm.evaluation.layer_features import layer_features
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
