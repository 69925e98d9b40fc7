import math
from collections import OrderedDict

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.registry import MODELS


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


@MODELS.register_module()
class DALLEEncoder(nn.Sequential):
    """DALL-E's encoder (arXiv 2102.12092, appendix A): (B, C, H, W) -> logits (B, V, H/8, W/8).

    A 7x7 convolution, four groups of residual blocks with three max poolings between them, and a
    1x1 convolution. The first and the last convolution run in float32.

    Args:
        width: Channels at full resolution; they double in each group.
        num_blocks: Residual blocks in each group.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 8, width: int = 256, num_blocks=2
    ):
        check_stride(stride)
        layers = OrderedDict(input=FullPrecisionConv2d(in_channels, width, 7, padding=3))
        before = width
        for group, factor in enumerate((1, 2, 4, 8), start=1):
            blocks = _group(before, factor * width, (3, 3, 3, 1), num_blocks)
            if group < 4:
                blocks['pool'] = nn.MaxPool2d(2)
            layers[f'group_{group}'] = nn.Sequential(blocks)
            before = factor * width
        layers['output'] = _output(before, out_channels)
        super().__init__(OrderedDict(blocks=nn.Sequential(layers)))
        _initialize(self)
        self.to(memory_format=torch.channels_last)  # faster, with the same numbers


@MODELS.register_module()
class DALLEDecoder(nn.Module):
    """DALL-E's decoder: tokens (B, V, h, w), one-hot or mixed -> maps (B, out_channels, 8h, 8w).

    Its first layer is a 1x1 convolution of the tokens, whose weight and bias make the codebook.
    Groups of residual blocks with nearest upsampling follow, and a 1x1 convolution.

    Args:
        in_channels: The vocabulary.
        code_dim: Channels after the first layer.
        width: Channels at full resolution; the first group has eight times as many.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 8,
        width: int = 256,
        num_blocks: int = 2,
        code_dim: int = 128,
    ):
        super().__init__()
        check_stride(stride)
        layers = OrderedDict(input=FullPrecisionConv2d(in_channels, code_dim, 1))
        before = code_dim
        for group, factor in enumerate((8, 4, 2, 1), start=1):
            blocks = _group(before, factor * width, (1, 3, 3, 3), num_blocks)
            if group < 4:
                blocks['upsample'] = nn.Upsample(scale_factor=2, mode='nearest')
            layers[f'group_{group}'] = nn.Sequential(blocks)
            before = factor * width
        layers['output'] = _output(before, out_channels)
        self.blocks = nn.Sequential(layers)
        _initialize(self)
        self.to(memory_format=torch.channels_last)  # faster, with the same numbers

    @property
    def codebook(self) -> Tensor:
        """Return the first layer as codes (V, code_dim)."""
        conv = self.blocks.input
        return conv.weight.flatten(1).T + conv.bias

    def forward(self, tokens: Tensor) -> Tensor:
        codes = tokens.permute(0, 2, 3, 1) @ self.codebook  # (B, h, w, code_dim)
        return self.blocks[1:](codes.permute(0, 3, 1, 2))


def check_stride(stride: int) -> None:
    if stride != 8:
        raise UserError(f'model.stride={stride}: DALLEEncoder and DALLEDecoder have stride 8')


def _group(before: int, channels: int, kernels: tuple[int, ...], num_blocks: int) -> OrderedDict:
    gain = 1 / (4 * num_blocks) ** 2
    return OrderedDict(
        (f'block_{i + 1}', DALLEBlock(channels if i else before, channels, kernels, gain))
        for i in range(num_blocks)
    )


def _output(channels: int, out_channels: int) -> nn.Sequential:
    conv = FullPrecisionConv2d(channels, out_channels, 1)
    return nn.Sequential(OrderedDict(relu=nn.ReLU(), conv=conv))


def _initialize(module: nn.Module) -> None:
    """Draw weights from Normal(0, 1/sqrt(fan_in)); biases are 0."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            nn.init.normal_(conv.weight, std=1 / math.sqrt(conv.weight[0].numel()))
            nn.init.zeros_(conv.bias)
