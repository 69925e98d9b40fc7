import torch.nn as nn
from mmengine.model import BaseModule
from torch import Tensor

from beit_mm.registry import MODELS


@MODELS.register_module()
class MaskedPatchNeck(BaseModule):
    """The masked patches of the last output, then LayerNorm (BEiT section 2.3).

    Only these reach the head, so that the vocabulary projection costs M rows and not B * N.

    Args:
        norm_eps: As in BEiTEncoder.
    """

    def __init__(self, dims: int, norm_eps: float = 1e-6, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.dims = dims
        self.norm = nn.LayerNorm(dims, eps=norm_eps)

    def forward(self, tokens: tuple[Tensor, ...], mask: Tensor) -> Tensor:
        """(B, 1+N, C) and mask (B, h, w) -> (M, C), in the order of ``mask``."""
        last, num_patches = tokens[-1], mask.shape[1:].numel()
        if last.ndim != 3 or last.shape[1] != 1 + num_patches:
            raise ValueError(
                f'MaskedPatchNeck got {tuple(last.shape)} from the backbone: expected (B, 1+N, C), '
                f'a class token and the N={num_patches} patches of the mask; set '
                "model.backbone.out_type='tokens'"
            )
        patches = last[:, 1:]  # (B, N, C), class token dropped
        return self.norm(patches[mask.flatten(1)])  # (M, C)
