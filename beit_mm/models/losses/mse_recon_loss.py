import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.registry import MODELS


@MODELS.register_module()
class MSEReconLoss(BaseReconLoss):
    """Squared error: a Gaussian of fixed variance."""

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        return F.mse_loss(self.image(maps), images)
