from collections.abc import Sequence

import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.starting_weights import draw_weights
from beit_mm.models.losses.base_recon_loss import BaseReconLoss
from beit_mm.registry import MODELS


@MODELS.register_module()
class PerceptualReconLoss(BaseReconLoss):
    """A pixel loss + ``weight`` * distance of the features of a frozen backbone (LPIPS' idea).

    Features of each output are scaled to unit length in the channel direction; the distance is the
    mean over positions of their squared difference, summed over channels, and the mean over the
    outputs. It is in [0, 4].

    The backbone is neither in ``parameters()`` nor in the state dict; it moves between devices
    with the loss.

    Args:
        backbone: Any registered one, ``mmpretrain.X`` too, whose ``forward`` gives a feature map
            (B, C, h, w) or a tuple of them. Its weights are those of its ``init_cfg``.
        pixel_loss: Config of the loss that is added; it says what the decoder's maps mean.
        mean, std: Of the backbone's normalization, for pixels in [0, 1].
    """

    def __init__(
        self,
        backbone: dict,
        weight: float = 1.0,
        pixel_loss: dict | None = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),  # ImageNet
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ):
        super().__init__()
        self.pixel_loss = MODELS.build(pixel_loss or dict(type='beit_mm.L1ReconLoss'))
        self.maps_per_channel = self.pixel_loss.maps_per_channel
        self.weight = weight
        self.mean, self.std = list(mean), list(std)
        backbone = MODELS.build(backbone)
        draw_weights(backbone)
        backbone.requires_grad_(False).eval()  # on its own: mmpretrain's give None
        # Not an attribute that nn.Module registers: no optimizer and no checkpoint has it.
        self._backbone = (backbone,)

    def image(self, maps: Tensor) -> Tensor:
        return self.pixel_loss.image(maps)

    def forward(self, maps: Tensor, images: Tensor) -> Tensor:
        distance = self.distance(self.image(maps), images)
        return self.pixel_loss(maps, images) + self.weight * distance

    def distance(self, recon: Tensor, images: Tensor) -> Tensor:
        """Return the distance, in [0, 4], of the features of images (B, C, H, W) in [0, 1]."""
        pairs = zip(self._features(recon), self._features(images), strict=True)
        distances = [(a - b).square().sum(1).mean() for a, b in pairs]
        return sum(distances) / len(distances)

    def _features(self, images: Tensor) -> list[Tensor]:
        if images.shape[1] not in (1, len(self.mean)):  # gray images are shown in all channels
            raise UserError(
                f'PerceptualReconLoss: recon_loss.mean and std have {len(self.mean)} values, but '
                f'the images have {images.shape[1]} channels; give the backbone in_channels='
                f'{images.shape[1]}, with as many values in mean and std'
            )
        mean, std = (images.new_tensor(v).view(1, -1, 1, 1) for v in (self.mean, self.std))
        outputs = self._backbone[0]((images - mean) / std)
        outputs = outputs if isinstance(outputs, (tuple, list)) else (outputs,)
        for features in outputs:
            if features.ndim != 4:
                raise UserError(
                    f'PerceptualReconLoss: the backbone gives {tuple(features.shape)}, expected '
                    "(B, C, h, w); most Transformers do with recon_loss.backbone.out_type='featmap'"
                )
        return [F.normalize(features.float(), dim=1) for features in outputs]

    def _apply(self, fn, *args, **kwargs) -> nn.Module:
        self._backbone[0]._apply(fn, *args, **kwargs)  # .to(), .cuda()
        return super()._apply(fn, *args, **kwargs)
