import pytest
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.distributions import AffineTransform, Laplace, SigmoidTransform, TransformedDistribution

from beit_mm.models.losses import LogitLaplaceReconLoss, PerceptualReconLoss
from beit_mm.registry import MODELS

BACKBONE = dict(
    type='beit_mm.BEiTEncoder',
    arch=dict(embed_dims=8, num_layers=2, num_heads=2),
    img_size=16,
    patch_size=4,
    out_indices=(0, 1),
    out_type='featmap',
)


def pair(factor=1):
    return torch.randn(2, 3 * factor, 16, 16), torch.rand(2, 3, 16, 16)


@pytest.mark.parametrize(
    'name, distance',
    [
        ('MSEReconLoss', lambda d: d.square().mean()),
        ('L1ReconLoss', lambda d: d.abs().mean()),
        ('SmoothL1ReconLoss', lambda d: torch.where(d.abs() < 1, d**2 / 2, d.abs() - 0.5).mean()),
    ],
)
def test_pixel_losses__closed_form_on_the_image(name, distance):
    loss = MODELS.build(dict(type=f'beit_mm.{name}'))
    maps, images = pair()
    torch.testing.assert_close(loss(maps, images), distance((maps + 1) / 2 - images))
    assert loss.maps_per_channel == 1


def test_logit_laplace__against_torch_distributions():
    maps, images = pair(2)
    mu, log_scale = maps.chunk(2, 1)
    logistic = TransformedDistribution(Laplace(mu, log_scale.exp()), [SigmoidTransform()])
    expected = -logistic.log_prob(0.9 * images + 0.05).mean()
    torch.testing.assert_close(LogitLaplaceReconLoss(eps=0.05)(maps, images), expected)


def test_logit_laplace__image_of_the_likeliest_maps_is_the_image():
    images = torch.rand(2, 3, 4, 4)
    loss = LogitLaplaceReconLoss()
    mu = torch.logit(0.8 * images + 0.1)
    torch.testing.assert_close(loss.image(torch.cat([mu, 0 * mu], 1)), images)


def test_logit_laplace__density_integrates_to_one():
    loss = LogitLaplaceReconLoss(eps=1e-6)
    x = (torch.arange(20000) + 0.5) / 20000
    uniform = Laplace(torch.tensor(0.4), torch.tensor(0.6))
    dist = TransformedDistribution(uniform, [SigmoidTransform(), AffineTransform(0, 1)])
    assert dist.log_prob(x).exp().mean().item() == pytest.approx(1, abs=1e-3)
    maps = torch.tensor([0.4, 0.6]).view(1, 2, 1, 1)
    maps[:, 1].log_()
    density = torch.stack([-loss(maps, v.view(1, 1, 1, 1)) for v in x[::100]]).exp()
    torch.testing.assert_close(density, dist.log_prob(x[::100]).exp(), atol=1e-3, rtol=1e-3)


def test_perceptual__pixel_loss_alone_when_the_weight_is_zero_and_more_beyond_it():
    maps, images = pair()
    loss = PerceptualReconLoss(BACKBONE, weight=0.0, pixel_loss=dict(type='beit_mm.MSEReconLoss'))
    pixel = F.mse_loss((maps + 1) / 2, images)
    torch.testing.assert_close(loss(maps, images), pixel)
    loss.weight = 2.0
    normalized = [
        [F.normalize(f, dim=1) for f in loss._backbone[0]((x - M) / S)]
        for x in ((maps + 1) / 2, images)
    ]
    distance = sum((a - b).square().sum(1).mean() for a, b in zip(*normalized, strict=True)) / 2
    assert distance > 1e-3
    torch.testing.assert_close(loss(maps, images), pixel + 2 * distance)
    torch.testing.assert_close(loss(2 * images - 1, images).item(), 0.0)


M = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
S = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def test_perceptual__frozen_backbone_passes_the_gradient_on_and_moves_along():
    maps, images = pair()
    loss = PerceptualReconLoss(BACKBONE)
    holder = nn.ModuleDict(dict(loss=loss)).train()
    assert not list(holder.parameters()) and not holder.state_dict()
    assert not loss._backbone[0].training
    maps.requires_grad_()
    loss(maps, images).backward()
    assert maps.grad.abs().sum() > 0
    assert all(p.grad is None for p in loss._backbone[0].parameters())
    holder.double()
    assert {p.dtype for p in loss._backbone[0].parameters()} == {torch.float64}


def test_perceptual__tokens_in_the_place_of_maps_name_the_key():
    loss = PerceptualReconLoss(dict(BACKBONE, out_type='tokens'))
    with pytest.raises(ValueError, match='recon_loss.backbone.out_type'):
        loss(*pair())


def test_perceptual__gray_is_shown_in_all_channels_and_other_numbers_name_the_keys():
    loss = PerceptualReconLoss(BACKBONE)
    maps, images = torch.randn(2, 1, 16, 16), torch.rand(2, 1, 16, 16)
    gray, color = (loss.distance(x, y) for x, y in ((maps, images), (R(maps), R(images))))
    torch.testing.assert_close(gray, color)
    with pytest.raises(ValueError, match=r'recon_loss.mean and std have 3 .* 5 channels'):
        loss(torch.randn(2, 5, 16, 16), torch.rand(2, 5, 16, 16))


def R(gray):
    return gray.expand(-1, 3, -1, -1)


@pytest.mark.parametrize('beta', [0.1, 0.5])
def test_smooth_l1__squared_under_beta_and_absolute_beyond(beta):
    maps, images = pair()
    d = ((maps + 1) / 2 - images).abs()
    expected = torch.where(d < beta, d**2 / (2 * beta), d - beta / 2).mean()
    loss = MODELS.build(dict(type='beit_mm.SmoothL1ReconLoss', beta=beta))
    torch.testing.assert_close(loss(maps, images), expected)


def test_perceptual__compares_in_float32_what_a_backbone_gives_in_half():
    loss = PerceptualReconLoss(BACKBONE)
    loss._backbone = (lambda images: images.bfloat16(),)
    assert loss.distance(*torch.rand(2, 1, 3, 16, 16)).dtype == torch.float32
