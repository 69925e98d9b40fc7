import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Backbone, MIMNeck, UserError
from beit_mm.contracts.derived import check_dims, facts_of_backbone
from beit_mm.registry import MODELS


@MODELS.register_module()
class MaskedPatchNeck(MIMNeck):
    """The predicted patches of the last output, then LayerNorm (BEiT, section 2.3).

    Only these reach the head, so that the vocabulary projection costs M rows and not B * N.

    Args:
        dims: Channels of the backbone's outputs; derived if left out.
        norm_eps: As in BEiTEncoder.
    """

    derived = ('dims',)

    def __init__(self, dims: int, norm_eps: float = 1e-6, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.dims = dims
        self.norm = nn.LayerNorm(dims, eps=norm_eps)

    def forward(self, tokens: tuple[Tensor, ...], where: Tensor) -> Tensor:
        """Return features (M, C) of outputs (B, 1+N, C), in the order of ``where`` (B, h, w)."""
        last, num_patches = tokens[-1], where.shape[1:].numel()
        if last.ndim != 3 or last.shape[1] != 1 + num_patches:
            raise UserError(
                f'MaskedPatchNeck got {tuple(last.shape)} from the backbone: expected (B, 1+N, C), '
                f'a class token and the N={num_patches} patches of the mask; set '
                "model.backbone.out_type='tokens' where that is an option, or take a neck of your "
                'own for a backbone without class token'
            )
        patches = last[:, 1:]  # (B, N, C), class token dropped
        return self.norm(patches[where.flatten(1)])  # (M, C)

    def check(self, backbone: Backbone) -> None:
        """Raise a UserError unless ``dims`` are the channels of the backbone."""
        check_dims('neck', self.dims, facts_of_backbone(backbone)['dims'])
