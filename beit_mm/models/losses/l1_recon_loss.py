import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.registry import MODELS


@MODELS.register_module()
class L1ReconLoss(BaseReconLoss):
    """Absolute error: a Laplace distribution of fixed scale, sharper edges than the squared one."""

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        return F.l1_loss(self.image(maps), images)
