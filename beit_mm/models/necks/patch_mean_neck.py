import torch.nn as nn
from mmengine.model import BaseModule
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchMeanNeck(BaseModule):
    """The mean of the patch tokens, then LayerNorm, for classification (BEiT, section 2.6).

    It is a neck for the classifiers of mmpretrain, whose heads take a tuple of one element.

    Args:
        norm_eps: As in BEiTEncoder.
        class_token: The first output is one, and is left out. Give False for an encoder without.
    """

    def __init__(
        self,
        dims: int,
        norm_eps: float = 1e-6,
        class_token: bool = True,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.first = int(class_token)
        self.norm = nn.LayerNorm(dims, eps=norm_eps)

    def forward(self, tokens: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Return ((B, C),), of outputs (B, 1+N, C), or (B, N, C) without class token."""
        if tokens[-1].ndim != 3:
            raise UserError(
                f'PatchMeanNeck got {tuple(tokens[-1].shape)} from the backbone: expected '
                "(B, 1+N, C); set model.backbone.out_type='tokens'"
            )
        return (self.norm(tokens[-1][:, self.first :].mean(1)),)
