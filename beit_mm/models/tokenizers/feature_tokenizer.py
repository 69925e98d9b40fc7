import torch
from torch import Tensor

from beit_mm.contracts import Tokenizer
from beit_mm.registry import MODELS


class FeatureTokenizer(Tokenizer):
    """Base of the tokenizers whose tokens are the nearest of V codes of frozen features.

    Args:
        features: Config of a :class:`~beit_mm.contracts.FeatureExtractor`, such as PatchPixels,
            PatchHOG, or BackboneFeatures for any registered backbone. It is frozen.
    """

    has_codebook = True

    def __init__(
        self,
        vocab_size: int,
        features: dict,
        stride: int,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        self.features = MODELS.build(features).requires_grad_(False).eval()
        self.in_channels = self.features.in_channels

    def train(self, mode: bool = True) -> 'FeatureTokenizer':
        super().train(mode)
        self.features.eval()
        return self

    @torch.no_grad()
    def vectors(self, images: Tensor) -> Tensor:
        """Return the features (B, h, w, D) in float32 of images (B, C, H, W) in [0, 1]."""
        self.check_images(images)
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        return self.features(images, grid).float()
