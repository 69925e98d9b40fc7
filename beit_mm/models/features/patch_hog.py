import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import FeatureExtractor, UserError
from beit_mm.models.features.patch_pixels import check_patches
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchHOG(FeatureExtractor):
    """Histograms of oriented gradients of a patch (Dalal and Triggs 2005; MaskFeat's targets).

    Gradients are central differences, of the channel where they are largest. Each of ``cells`` x
    ``cells`` cells counts ``bins`` unsigned orientations, weighted by magnitude, and the features
    of a patch, ordered by cell row, cell column and bin, have length 1.

    Args:
        cells: Per side of a patch; it has to divide ``patch_size``.
    """

    def __init__(self, patch_size: int, cells: int = 2, bins: int = 9, in_channels: int = 3):
        super().__init__()
        if patch_size % cells:
            raise UserError(
                f'PatchHOG.cells={cells} does not divide patch_size={patch_size}; choose a divisor'
            )
        self.patch_size = patch_size
        self.in_channels = in_channels
        self.cells = cells
        self.bins = bins
        self.dims = bins * cells**2

    @torch.no_grad()
    def forward(self, images: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        check_patches(self, images, grid)
        dy, dx = torch.zeros_like(images), torch.zeros_like(images)  # 0 at the border
        dy[:, :, 1:-1] = images[:, :, 2:] - images[:, :, :-2]
        dx[..., 1:-1] = images[..., 2:] - images[..., :-2]
        magnitude, channel = torch.hypot(dx, dy).max(1, keepdim=True)
        angle = torch.atan2(dy.gather(1, channel), dx.gather(1, channel))
        turn = (angle / torch.pi).remainder(1)  # half turns: opposite directions are one
        bin_ = (turn * self.bins).long().clamp(max=self.bins - 1)
        votes = F.one_hot(bin_[:, 0], self.bins).permute(0, 3, 1, 2) * magnitude
        cells = F.avg_pool2d(votes, self.patch_size // self.cells)  # (B, bins, h*cells, w*cells)
        k = self.cells
        patches = cells.unflatten(2, (-1, k)).unflatten(4, (-1, k))  # (B, bins, h, k, w, k)
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3)  # (B, h, w, dims)
        return patches / (patches.square().sum(-1, keepdim=True) + 1e-10).sqrt()
