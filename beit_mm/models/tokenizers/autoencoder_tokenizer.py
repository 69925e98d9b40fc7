import math
from abc import abstractmethod

import torch
from torch import Tensor

from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.layers.conv_block import conv_decoder, conv_encoder
from beit_mm.models.layers.data_init import standardize_output_
from beit_mm.models.tokenizers.base_tokenizer import BaseTokenizer
from beit_mm.models.tokenizers.dvae_tokenizer import build_recon_loss


class AutoencoderTokenizer(BaseTokenizer):
    """A convolutional encoder, a quantizer, a mirrored decoder; subclasses bring the quantizer.

    The encoder's last layer projects its ``width`` channels to the ``code_dim`` of the codes, and
    the decoder's first one back: few dimensions keep the whole codebook in use. Values are
    quantized in float32 whatever autocast says. The pixel mapping x -> 2x - 1 is inside.

    Args:
        stride: Pixels per token and side, a power of two.
        width: Channels on the token grid; each higher resolution has half as many.
        num_blocks: Residual blocks on the token grid, in the encoder and in the decoder.
        recon_loss: ``mse``, ``l1``, ``smooth_l1``, or the config of a loss of ``models/losses``.
        data_init: Standardize each dimension of what is quantized to this standard deviation with
            the first training batch (of all processes), so that a fresh encoder's vectors are
            spread over the codes. None keeps them as they are.
        usage_window: ``codes_used`` and ``perplexity`` describe the tokens of this many latest
            training steps (of all processes).
    """

    def __init__(
        self,
        vocab_size: int,
        code_dim: int,
        in_channels: int = 3,
        stride: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        recon_loss: str | dict = 'mse',
        data_init: float | None = 1.0,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        name = type(self).__name__
        if stride < 2 or stride & (stride - 1):
            raise ValueError(f'{name}.stride={stride}: expected a power of two >= 2')
        if data_init is not None and not 0 < data_init < math.inf:
            raise ValueError(f'{name}.data_init={data_init}: expected a positive number, or None')
        self.in_channels = in_channels
        self.code_dim = code_dim
        self.recon_loss = build_recon_loss(recon_loss, name)
        sizes = dict(stride=stride, width=width, num_blocks=num_blocks)
        self.encoder = conv_encoder(in_channels, code_dim, **sizes)
        maps = in_channels * self.recon_loss.maps_per_channel
        self.decoder = conv_decoder(code_dim, maps, **sizes)
        self.data_init = data_init
        self.register_buffer('initialized', torch.tensor(data_init is None))
        self.usage = CodeUsage(vocab_size, usage_window)

    @abstractmethod
    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(B, h, w, D) -> codes with a gradient to z, ids (B, h, w), losses beside the recon."""

    @abstractmethod
    def ids_of(self, z: Tensor) -> Tensor:
        """(B, h, w, D) -> ids (B, h, w). Changes nothing."""

    @abstractmethod
    def codes_of(self, ids: Tensor) -> Tensor:
        """ids (...) -> codes (..., D)."""

    def vectors(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> what is quantized, (B, h, w, D)."""
        self.check_divisible(images)
        self.check_channels(images)
        self.check_range(images)
        return self.encoder(2 * images - 1).float().permute(0, 2, 3, 1)

    def encode(self, images: Tensor) -> Tensor:
        return self.ids_of(self.vectors(images))

    def decode(self, ids: Tensor) -> Tensor:
        return self.recon_loss.image(self._draw(self.codes_of(ids)))

    def code_vectors(self) -> Tensor:
        """(V, D): codes that are near to each other draw alike."""
        ids = torch.arange(self.vocab_size, device=next(self.parameters()).device)
        return self.codes_of(ids)

    def _draw(self, codes: Tensor) -> Tensor:
        codes = codes.to(next(self.decoder.parameters()).dtype)  # of a model in half precision
        return self.decoder(codes.permute(0, 3, 1, 2))

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.training and not self.initialized:
            z = self.vectors(inputs).permute(0, 3, 1, 2)
            standardize_output_(self.encoder[-1], z, self.data_init)
            self.initialized.fill_(True)
        z = self.vectors(inputs)  # (B, h, w, D)
        with torch.autocast(z.device.type, enabled=False):
            codes, ids, losses = self.quantize(z)
        maps = self._draw(codes).float()
        return dict(loss_recon=self.recon_loss(maps, inputs), **losses, **self.usage(ids))
