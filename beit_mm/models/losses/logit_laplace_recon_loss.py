import math

import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.registry import MODELS


@MODELS.register_module()
class LogitLaplaceReconLoss(BaseReconLoss):
    """Negative log-likelihood in nats of a Laplace distribution of the pixel's logit (DALL-E).

    The support is (0, 1), as pixels have it (arXiv 2102.12092, appendix A.3). The maps are the
    means and the log scales.

    Args:
        eps: Pixels are mapped to [eps, 1 - eps], where the logit is finite.
    """

    maps_per_channel = 2

    def __init__(self, eps: float = 0.1):
        super().__init__()
        if not 0 < eps < 0.5:
            raise UserError(f'LogitLaplaceReconLoss.eps={eps}: expected a number in (0, 0.5)')
        self.eps = eps

    def image(self, maps: Tensor) -> Tensor:
        mu = maps.chunk(2, dim=1)[0].float()
        return ((torch.sigmoid(mu) - self.eps) / (1 - 2 * self.eps)).clamp(0, 1)

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        return logit_laplace_nll(maps, (1 - 2 * self.eps) * images + self.eps)


def logit_laplace_nll(maps: Tensor, x: Tensor) -> Tensor:
    """Return the mean over values of -log p(x), for x (B, C, H, W) in (0, 1).

    p(x) = exp(-|logit(x) - mu| / b) / (2 b x (1 - x)); maps (B, 2C, H, W) are mu and ln b.
    """
    mu, log_scale = maps.float().chunk(2, dim=1)
    distance = (torch.logit(x) - mu).abs()
    log_volume = math.log(2) + log_scale + torch.log(x) + F.logsigmoid(-torch.logit(x))
    return (log_volume + distance * (-log_scale).exp()).mean()
