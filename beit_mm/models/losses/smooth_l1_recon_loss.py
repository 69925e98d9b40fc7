import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.registry import MODELS


@MODELS.register_module()
class SmoothL1ReconLoss(BaseReconLoss):
    """Half the squared error over ``beta`` where the error is smaller than that, then absolute.

    Args:
        beta: In units of the image. With 1 (``recon_loss='smooth_l1'``) pixels in [0, 1] never
            reach the absolute part; 0.1 is a tenth of the range.
    """

    def __init__(self, beta: float = 1.0):
        super().__init__()
        self.beta = beta

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        return F.smooth_l1_loss(self.image(maps), images, beta=self.beta)
