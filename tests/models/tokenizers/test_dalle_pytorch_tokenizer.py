import pytest
import torch
import torch.nn.functional as F

from beit_mm.models import DALLEPytorchTokenizer

SMALL = dict(vocab_size=16, stride=4, width=8, code_dim=12)


def reference(model, image, code):
    """The architecture in functions: (C, H, W) in [0, 1] -> logits; a code (D, h, w) -> maps."""
    convs = [m for m in model.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    x = (image - 0.5) / 0.5
    for conv in convs[:2]:
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1))
    first, second, third, last = convs[2:]
    y = F.relu(F.conv2d(x, first.weight, first.bias, padding=1))
    y = F.relu(F.conv2d(y, second.weight, second.bias, padding=1))
    x = x + F.conv2d(y, third.weight, third.bias)
    logits = F.conv2d(x, last.weight, last.bias)

    kinds = torch.nn.Conv2d, torch.nn.ConvTranspose2d
    first, *block, up, upper, last = [m for m in model.decoder.modules() if isinstance(m, kinds)]
    x = F.conv2d(code, first.weight, first.bias)
    y = F.relu(F.conv2d(x, block[0].weight, block[0].bias, padding=1))
    y = F.relu(F.conv2d(y, block[1].weight, block[1].bias, padding=1))
    x = x + F.conv2d(y, block[2].weight, block[2].bias)
    for conv in (up, upper):
        x = F.relu(F.conv_transpose2d(x, conv.weight, conv.bias, stride=2, padding=1))
    return logits, F.conv2d(x, last.weight, last.bias)


def test_architecture__equals_its_description():
    model = DALLEPytorchTokenizer(**SMALL).eval()
    images, ids = torch.rand(1, 3, 8, 12), torch.tensor([[[3, 0, 3], [7, 1, 15]]])
    code = model.quantizer.codebook[ids][0].permute(2, 0, 1)
    logits, maps = reference(model, images[0], code)
    torch.testing.assert_close(model.vectors(images)[0].permute(2, 0, 1), logits)
    torch.testing.assert_close(model.decode(ids)[0], 0.5 * maps + 0.5)
    sizes = {tuple(p.shape) for p in model.parameters() if p.ndim > 1}
    assert {
        (8, 3, 4, 4),
        (8, 8, 4, 4),
        (8, 8, 3, 3),
        (16, 8, 1, 1),
        (16, 12),
        (8, 12, 1, 1),
    } < sizes


def test_no_blocks__the_codes_are_upsampled_as_they_are():
    model = DALLEPytorchTokenizer(**SMALL, num_blocks=0)
    assert [m.kernel_size[0] for m in model.decoder if hasattr(m, 'kernel_size')] == [4, 4, 1]
    assert model.decoder[0].weight.shape == (12, 8, 4, 4)
    assert model.decode(model.encode(torch.rand(1, 3, 8, 8))).shape == (1, 3, 8, 8)


def test_defaults__of_the_description():
    model = DALLEPytorchTokenizer()
    assert model.quantizer.codebook.shape == (512, 512) and model.stride == 8
    assert model.encoder[-1].weight.shape == (512, 64, 1, 1)
    assert model.quantizer.codebook.std().item() == pytest.approx(1, abs=0.02)
    own = model.quantizer
    assert (own.relaxation, own.kl_weight, own.temperature) == ('soft', 0.0, 1.0)


def test_loss__every_parameter_has_a_gradient_and_mse_is_a_quarter():
    model = DALLEPytorchTokenizer(**SMALL)
    images = torch.rand(4, 3, 16, 16)
    losses = model.loss(images)
    model.parse_losses(losses)[0].backward()
    assert all(p.grad.any() for p in model.parameters())
    maps = torch.randn(4, 3, 16, 16)
    theirs = F.mse_loss(maps, (images - 0.5) / 0.5)  # of the images they call normalized
    torch.testing.assert_close(4 * model.recon_loss(maps, images), theirs)


def test_stride__named_in_the_error():
    with pytest.raises(ValueError, match='stride=6: expected a power of two'):
        DALLEPytorchTokenizer(stride=6)
