"""MAE's encoder and decoder (arXiv 2111.06377), to predict tokens instead of pixels."""

import torch.nn as nn
from mmpretrain.models.necks import MAEPretrainDecoder
from mmpretrain.models.selfsup import MAEViT
from torch import Tensor

from beit_mm.contracts import MIMNeck
from beit_mm.registry import MODELS


@MODELS.register_module()
class VisiblePatches(MAEViT):
    """mmpretrain's encoder of the patches that a given mask leaves, as many in each image."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return tokens of the visible patches (B, 1 + K, C), and each patch's place in them."""
        if mask is None:
            return super().forward(x)
        self.hidden = mask.flatten(1)  # (B, N)
        tokens, _, places = super().forward(x, mask=True)
        return tokens, places

    def random_masking(self, x: Tensor, mask_ratio: float) -> tuple[Tensor, Tensor, Tensor]:
        order = self.hidden.int().argsort(dim=1, stable=True)  # visible patches first
        kept = order[:, : int((~self.hidden[0]).sum())]
        tokens = x.gather(1, kept[..., None].expand(-1, -1, x.shape[2]))
        return tokens, self.hidden, order.argsort(dim=1)


@MODELS.register_module()
class MAEDecoderNeck(MIMNeck):
    """mmpretrain's decoder, up to its last layer: features of the patches in ``where``."""

    def __init__(self, init_cfg: dict | None = None, **decoder):
        super().__init__(init_cfg)
        self.decoder = MAEPretrainDecoder(**decoder)
        self.decoder.decoder_pred = nn.Identity()

    def forward(self, tokens: tuple[Tensor, ...], where: Tensor) -> Tensor:
        return self.decoder(*tokens)[where.flatten(1)]  # (M, decoder_embed_dim)
