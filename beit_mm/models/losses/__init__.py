from .base_recon_loss import BaseReconLoss
from .l1_recon_loss import L1ReconLoss
from .logit_laplace_recon_loss import LogitLaplaceReconLoss
from .mse_recon_loss import MSEReconLoss
from .perceptual_recon_loss import PerceptualReconLoss
from .smooth_l1_recon_loss import SmoothL1ReconLoss

__all__ = [
    'BaseReconLoss',
    'L1ReconLoss',
    'LogitLaplaceReconLoss',
    'MSEReconLoss',
    'PerceptualReconLoss',
    'SmoothL1ReconLoss',
]
