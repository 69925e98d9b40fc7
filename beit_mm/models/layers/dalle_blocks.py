import math
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor


class FullPrecisionConv2d(nn.Conv2d):
    """A convolution in float32 whatever autocast says (DALL-E's first and last ones)."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class DALLEBlock(nn.Module):
    """Residual block of DALL-E's dVAE: identity path + ``gain`` * bottleneck of four convolutions.

    Args:
        kernels: Of the four convolutions: (3, 3, 3, 1) in the encoder, (1, 3, 3, 3) in the decoder.
        gain: 1 / (number of blocks)^2.
    """

    def __init__(self, in_channels: int, channels: int, kernels: tuple[int, ...], gain: float):
        super().__init__()
        self.gain = gain
        self.id_path = nn.Identity()
        if in_channels != channels:
            self.id_path = nn.Conv2d(in_channels, channels, 1)
        hidden = channels // 4
        widths = [in_channels, hidden, hidden, hidden, channels]
        layers = OrderedDict()
        for i, kernel in enumerate(kernels):
            layers[f'relu_{i + 1}'] = nn.ReLU()
            layers[f'conv_{i + 1}'] = nn.Conv2d(
                widths[i], widths[i + 1], kernel, padding=kernel // 2
            )
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.id_path(x) + self.gain * self.res_path(x)


def dalle_encoder(in_channels: int, vocab_size: int, width: int, num_blocks: int) -> nn.Sequential:
    """Mapped images (B, C, H, W) -> logits (B, V, H/8, W/8); four groups, three max poolings."""
    widths = [width, 2 * width, 4 * width, 8 * width]
    layers = OrderedDict(input=FullPrecisionConv2d(in_channels, width, 7, padding=3))
    before = width
    for group, channels in enumerate(widths, start=1):
        blocks = _group(before, channels, (3, 3, 3, 1), num_blocks)
        if group < 4:
            blocks['pool'] = nn.MaxPool2d(2)
        layers[f'group_{group}'] = nn.Sequential(blocks)
        before = channels
    layers['output'] = _output(before, vocab_size)
    return _initialized(nn.Sequential(OrderedDict(blocks=nn.Sequential(layers))))


class DALLEDecoder(nn.Module):
    """Codebook entries (B, D, h, w) -> maps (B, out_channels, 8h, 8w).

    The original's first layer is a 1x1 convolution of the one-hot tokens; its weight and bias are
    the codebook. It is kept as ``blocks.input`` and looked up by the tokenizer.
    """

    def __init__(
        self, vocab_size: int, code_dim: int, out_channels: int, width: int, num_blocks: int
    ):
        super().__init__()
        layers = OrderedDict(input=FullPrecisionConv2d(vocab_size, code_dim, 1))
        before = code_dim
        for group, factor in enumerate((8, 4, 2, 1), start=1):
            blocks = _group(before, factor * width, (1, 3, 3, 3), num_blocks)
            if group < 4:
                blocks['upsample'] = nn.Upsample(scale_factor=2, mode='nearest')
            layers[f'group_{group}'] = nn.Sequential(blocks)
            before = factor * width
        layers['output'] = _output(before, out_channels)
        self.blocks = nn.Sequential(layers)
        _initialized(self)

    @property
    def codebook(self) -> Tensor:
        """(V, D)."""
        conv = self.blocks.input
        return conv.weight.flatten(1).T + conv.bias

    def forward(self, codes: Tensor) -> Tensor:
        return self.blocks[1:](codes)


def _group(before: int, channels: int, kernels: tuple[int, ...], num_blocks: int) -> OrderedDict:
    gain = 1 / (4 * num_blocks) ** 2
    return OrderedDict(
        (f'block_{i + 1}', DALLEBlock(channels if i else before, channels, kernels, gain))
        for i in range(num_blocks)
    )


def _output(channels: int, out_channels: int) -> nn.Sequential:
    conv = FullPrecisionConv2d(channels, out_channels, 1)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv))


def _initialized(module: nn.Module) -> nn.Module:
    """Weights Normal(0, 1/sqrt(fan_in)), biases 0."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.normal_(conv.weight, std=1 / math.sqrt(conv.weight[0].numel()))
            nn.init.zeros_(conv.bias)
    return module


def logit_laplace_nll(maps: Tensor, x: Tensor) -> Tensor:
    """Mean over values of -log p(x) for x in (0, 1) and maps (mu, ln b) (DALL-E, appendix A.3).

    p(x) = exp(-|logit(x) - mu| / b) / (2 b x (1 - x)); maps (B, 2C, H, W), x (B, C, H, W).
    """
    mu, log_scale = maps.float().chunk(2, dim=1)
    distance = (torch.logit(x) - mu).abs()
    log_volume = math.log(2) + log_scale + torch.log(x) + F.logsigmoid(-torch.logit(x))
    return (log_volume + distance * (-log_scale).exp()).mean()
