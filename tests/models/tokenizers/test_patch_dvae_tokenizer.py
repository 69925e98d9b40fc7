import pytest
import torch
import torch.nn.functional as F

from beit_mm.models import PatchDVAETokenizer


def tokenizer(**kwargs) -> PatchDVAETokenizer:
    settings = dict(vocab_size=16, stride=4, width=8, num_blocks=1, code_dim=6)
    return PatchDVAETokenizer(**dict(settings, **kwargs))


@pytest.mark.parametrize('stride, channels, height, width', [(1, 1, 2, 3), (6, 3, 12, 30)])
@pytest.mark.parametrize('loss', ['MSEReconLoss', 'LogitLaplaceReconLoss'])
def test_encode_decode__any_stride(stride, channels, height, width, loss):
    recon_loss = dict(type=f'beit_mm.{loss}')
    model = tokenizer(stride=stride, in_channels=channels, recon_loss=recon_loss).eval()
    ids = model.encode(torch.rand(2, channels, height, width))
    assert ids.shape == (2, height // stride, width // stride)
    assert model.decode(ids).shape == (2, channels, height, width)


def test_all_grids_are_the_token_grid():
    """But for the pixels at both ends: that is what the class is for."""
    seen = []
    model = tokenizer()
    for module in [*model.encoder, *model.decoder]:
        module.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[2:])))
    model.loss(torch.rand(1, 3, 12, 20))
    assert seen.pop() == (12, 20)
    assert set(seen) == {(3, 5)}


def test_logits__depend_on_the_patches_within_num_blocks_alone():
    """And on all of them: none of the 25 is lost."""
    model = tokenizer(num_blocks=2)
    images = torch.rand(1, 3, 28, 28, requires_grad=True)  # 7 x 7 tokens
    model.vectors(images)[0, 3, 3].square().sum().backward()
    reach = images.grad.abs().amax(1).view(7, 4, 7, 4).amax((1, 3))  # a value for each patch
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[1:6, 1:6] = True
    assert torch.equal(reach > 0, expected)


def test_decode__a_token_draws_its_own_patch_and_reaches_num_blocks_patches():
    model = tokenizer(num_blocks=1).eval()
    ids = torch.zeros(1, 5, 5, dtype=torch.long)
    other = ids.clone()
    other[0, 2, 1] = 9
    changed = (model.decode(ids) != model.decode(other)).any(1).view(5, 4, 5, 4).any(3).any(1)
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[1:4, 0:3] = True
    assert torch.equal(changed, expected)


def test_decode__rows_and_columns_within_a_patch():
    """The last layer's channels are (channel, row, column) of the pixels in the patch."""
    model = tokenizer().eval()
    last = model.decoder[-2]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.arange(48.0))
    image = 2 * model.decode(torch.zeros(1, 2, 2, dtype=torch.long)) - 1
    torch.testing.assert_close(image[0, :, 4:, 4:], torch.arange(48.0).view(3, 4, 4))


def test_architecture__equals_its_description():
    model = tokenizer(num_blocks=2).eval()
    images, ids = torch.rand(1, 3, 8, 12), torch.tensor([[[3, 0, 3], [7, 1, 15]]])
    (embed, *blocks, last), (first, *drawing, pixels) = (
        [m for m in part.modules() if isinstance(m, torch.nn.Conv2d)]
        for part in (model.encoder, model.decoder)
    )

    def residual(x, convs):  # two blocks, each added with half its weight
        for spatial, point in (convs[:2], convs[2:]):
            y = F.relu(F.conv2d(F.relu(x), spatial.weight, spatial.bias, padding=1))
            x = x + F.conv2d(y, point.weight, point.bias) / 2
        return F.relu(x)

    patches = F.unfold(2 * images - 1, 4, stride=4)  # (1, 48, 6)
    x = embed.weight.flatten(1) @ patches[0] + embed.bias[:, None]
    logits = F.conv2d(residual(x.view(1, 8, 2, 3), blocks), last.weight, last.bias)
    torch.testing.assert_close(model.vectors(images).permute(0, 3, 1, 2), logits)

    codes = model.quantizer.codebook[ids].permute(0, 3, 1, 2)
    x = residual(F.conv2d(codes, first.weight, first.bias), drawing)
    patches = F.conv2d(x, pixels.weight, pixels.bias).flatten(2)
    expected = F.fold(patches, (8, 12), 4, stride=4)
    torch.testing.assert_close(2 * model.decode(ids) - 1, expected)


@pytest.mark.parametrize('relaxation', ['soft', 'straight_through', 'reinmax'])
@pytest.mark.parametrize('logit_scale', [None, 3.0])
def test_loss__every_parameter_has_a_gradient(relaxation, logit_scale):
    model = tokenizer(relaxation=relaxation, logit_scale=logit_scale, kl_weight=0.1)
    losses = model.loss(torch.rand(4, 3, 16, 16))
    model.parse_losses(losses)[0].backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # The standardization removes what the last bias adds to all logits of a code.
    assert set(without) <= ({'encoder.3.bias'} if logit_scale else set())


def test_options_of_the_dvae__data_init_and_reset_dead_codes():
    model = tokenizer(data_init=3.0, reset_dead_codes=dict(interval=1, min_tokens=1))
    images = torch.rand(8, 3, 16, 16)
    model.loss(images)
    spread = model.vectors(images).std((0, 1, 2), correction=0)
    torch.testing.assert_close(spread, torch.full((16,), 3.0), atol=1e-3, rtol=0)
    before = model.last_conv().weight.clone(), model.quantizer.codebook.clone()
    model.quantizer.dead_code_reset.counts[0] = torch.tensor([90, 10] + 14 * [0])
    model.quantizer.dead_code_reset.counts[1:] = 0
    model.quantizer.start_step(model.quantized_rows())
    for old, new in zip(before, (model.last_conv().weight, model.quantizer.codebook), strict=True):
        assert torch.equal(old[:2], new[:2]) and not (old[2:] == new[2:]).all(1).any()


def test_arguments__named_in_errors():
    with pytest.raises(ValueError, match='PatchDVAETokenizer.width=0: expected an integer >= 1'):
        tokenizer(width=0)
    with pytest.raises(ValueError, match='PatchDVAETokenizer.stride=0: expected an integer >= 1'):
        tokenizer(stride=0)
