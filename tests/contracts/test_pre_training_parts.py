"""The properties of backbones, necks, heads and features, for everything in the registry."""

import pytest
import torch
from examples import BACKBONES, FEATURES, HEADS, NECKS, build, registered

from beit_mm.contracts import Backbone, FeatureExtractor, MIMHead, MIMNeck


@pytest.mark.parametrize(
    ('contract', 'examples'),
    [(Backbone, BACKBONES), (MIMNeck, NECKS), (MIMHead, HEADS), (FeatureExtractor, FEATURES)],
)
def test_every_plugin_has_an_example(contract, examples):
    assert registered(contract) == sorted(examples)


def perturbed(part):
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return part.eval()


# ---- backbones ----


@pytest.mark.parametrize('name', BACKBONES)
@pytest.mark.parametrize('grid', [(4, 4), (2, 5)])
def test_backbone__sees_no_masked_pixel_at_any_size(name, grid):
    backbone = perturbed(build(BACKBONES, name))
    patch = backbone.patch_size
    x = torch.randn(2, backbone.in_channels, grid[0] * patch, grid[1] * patch)
    mask = torch.rand(2, *grid) < 0.5
    outputs = backbone(x, mask)
    assert len(outputs) == len(backbone.out_indices)
    assert outputs[-1].shape == (2, 1 + grid[0] * grid[1], backbone.embed_dims)
    hidden = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)[:, None]
    assert torch.equal(backbone(x + 9 * hidden, mask)[-1], outputs[-1])
    assert not torch.equal(backbone(x + 9 * hidden)[-1], backbone(x)[-1])


@pytest.mark.parametrize('name', BACKBONES)
def test_depths__go_from_the_embedding_to_the_end(name):
    backbone = build(BACKBONES, name)
    depths = [
        backbone.get_layer_depth(f'backbone.{key}', prefix='backbone.')
        for key, _ in backbone.named_parameters()
    ]
    (number,) = {total for _, total in depths}
    assert all(0 <= depth < number for depth, _ in depths)
    assert backbone.num_layers is None or number == backbone.num_layers + 2


# ---- necks and heads ----


@pytest.mark.parametrize('name', NECKS)
def test_neck__gives_a_row_for_each_patch_in_the_order_of_the_mask(name):
    neck = perturbed(build(NECKS, name))
    tokens = torch.randn(2, 7, 16)
    tokens = (tokens, tokens) if neck.takes_bias else (tokens,)
    bias = [torch.randn(1, 2, 7, 7)] if neck.takes_bias else []
    everywhere = torch.ones(2, 3, 2, dtype=torch.bool)
    where = torch.rand(2, 3, 2) < 0.5

    def main(at):
        found = neck(tokens, at, *bias)
        return found['main'] if isinstance(found, dict) else found

    torch.testing.assert_close(main(where), main(everywhere)[where.flatten()])
    assert main(torch.zeros_like(where)).shape == (0, 16)


def targets_of(head, number):
    if 'target_dims' in head.derived:
        return torch.randn(number, head.target_dims)
    return torch.randint(head.vocab_size, (number,))


@pytest.mark.parametrize('name', HEADS)
@pytest.mark.parametrize('number', [5, 0])
def test_head__learns_and_tells_metrics(name, number):
    head = build(HEADS, name)
    features, targets = torch.randn(number, 16, requires_grad=True), targets_of(head, number)
    losses = head.loss(features, targets)
    total = sum(value for key, value in losses.items() if 'loss' in key)
    total.backward()  # connected to the graph even if nothing is masked
    assert total.isfinite()
    assert all(parameter.grad is not None for parameter in head.parameters())
    samples = head.samples(features.detach(), targets)
    assert {len(rows) for rows in samples.values()} == {number}
    assert samples['loss'].shape == (number,)
    if number:
        torch.testing.assert_close(head.predict(features)[2:3], head.predict(features[2:3]))


# ---- features ----


@pytest.mark.parametrize('name', FEATURES)
def test_features__are_a_frozen_function_of_a_patch_grid(name):
    features = build(FEATURES, name).train()
    images = torch.rand(2, 3, 16, 16)
    found = features(images, (4, 4))
    assert found.shape == (2, 4, 4, features.dims)
    assert not found.requires_grad
    assert torch.equal(features(images), found)
    if features.can_draw:
        torch.testing.assert_close(features.image(found), images)
    with pytest.raises(ValueError):
        features(images, (5, 4))
