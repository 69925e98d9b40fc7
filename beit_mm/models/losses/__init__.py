from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.models.losses.l1_recon_loss import L1ReconLoss
from beit_mm.models.losses.logit_laplace_recon_loss import LogitLaplaceReconLoss
from beit_mm.models.losses.mse_recon_loss import MSEReconLoss
from beit_mm.models.losses.perceptual_recon_loss import PerceptualReconLoss
from beit_mm.models.losses.smooth_l1_recon_loss import SmoothL1ReconLoss
