from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from beit_mm.registry import MODELS


@MODELS.register_module()
class TwoViewDataPreprocessor(BaseDataPreprocessor):
    """Moves a batch to the device; normalises ``inputs``, and scales ``token_inputs`` to [0, 1].

    The tokenizer owns its pixel mapping, so the second view does not depend on ``mean`` and
    ``std``. A tokenizer in training takes its ``inputs`` in [0, 1]: ``mean=[0], std=[255]``.

    Args:
        mean, std: In pixel units, one number for each channel or one for all.
        token_scale: The pixel value that becomes 1 in ``token_inputs``; 65535 for 16-bit images.
        bgr_to_rgb: Reverse the channels of both views (OpenCV loads BGR).

    Raises:
        ValueError: mean or std fit neither one channel nor those of the images, or std is 0.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        token_scale: float = 255.0,
        bgr_to_rgb: bool = False,
        non_blocking: bool = False,
    ):
        super().__init__(non_blocking)
        if len(mean) != len(std):
            raise ValueError(
                f'data_preprocessor.mean has {len(mean)} values and std has {len(std)}; '
                'give one for each channel, or one for all'
            )
        if min(std) <= 0 or token_scale <= 0:
            raise ValueError(
                f'data_preprocessor: std={list(std)} and token_scale={token_scale} must be positive'
            )
        self.token_scale = token_scale
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor(mean).float().view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).float().view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """``inputs`` (B, C, H, W), and as they come ``token_inputs`` (B, C, H', W'), ``mask``."""
        data = dict(self.cast_data(data))
        data['inputs'] = (self._channels(data['inputs']) - self.mean) / self.std
        if 'token_inputs' in data:
            data['token_inputs'] = self._channels(data['token_inputs']) / self.token_scale
        return data

    def _channels(self, images: Tensor) -> Tensor:
        if len(self.mean) not in (1, images.shape[1]):
            raise ValueError(
                f'data_preprocessor.mean and std have {len(self.mean)} values, but the images '
                f'have {images.shape[1]} channels; give one for each channel, or one for all'
            )
        if self.bgr_to_rgb and images.shape[1] == 3:
            images = images.flip(1)
        return images.float()
