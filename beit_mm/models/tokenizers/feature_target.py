from collections.abc import Mapping

import torch
from torch import Tensor

from beit_mm.contracts import Target
from beit_mm.registry import MODELS


@MODELS.register_module()
class FeatureTarget(Target):
    """Continuous targets in the place of a tokenizer, for ablations with a FeatureRegressionHead.

    ``features=dict(type='PatchPixels', patch_size=16, normalize=True)`` gives the pixel targets of
    MAE, PatchHOG those of MaskFeat.

    Args:
        features: See :class:`FeatureTokenizer`.
        stride: Pixels per patch and side in the second view.
    """

    def __init__(self, features: dict, stride: int, init_cfg: dict | None = None):
        super().__init__(init_cfg=init_cfg)
        self.features = MODELS.build(features).requires_grad_(False).eval()
        self.stride = stride
        self.target_dims = self.features.dims
        self.in_channels = self.features.in_channels

    @classmethod
    def target_dims_of(cls, config: Mapping) -> int:
        with torch.random.fork_rng([]):  # of the CPU: the same weights follow whoever asks
            return MODELS.build(config['features']).dims

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return features (B, h, w, target_dims) in float32 of images (B, C, H, W) in [0, 1]."""
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        return self.features(images, grid).float()
