import math

import torch
import torch.nn as nn

from beit_mm.models.layers.patch_blocks import patch_decoder, patch_encoder
from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchDVAETokenizer(DVAETokenizer):
    """A dVAE that computes on the token grid alone, for CPUs and for any stride.

    The encoder is one linear map of each patch, residual blocks on the token grid and a 1x1
    convolution to the logits. The decoder mirrors it: residual blocks, then a linear map of each
    position to the pixels of its patch. There are no grids between pixels and tokens.

    Args:
        stride: Pixels per token and side, any number >= 1.
        width: Channels on the token grid.
        kwargs: As :class:`DVAETokenizer`.
    """

    def _build(self, width: int, num_blocks: int, code_dim: int) -> None:
        sizes = dict(stride=self.stride, width=width, num_blocks=num_blocks)
        self.encoder = patch_encoder(self.in_channels, self.vocab_size, **sizes)
        codes = torch.randn(self.vocab_size, code_dim) / math.sqrt(code_dim)
        self.codebook = nn.Parameter(codes)
        maps = self.in_channels * self.recon_loss.maps_per_channel
        self.decoder = patch_decoder(code_dim, maps, **sizes)
