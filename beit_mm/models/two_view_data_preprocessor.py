from collections.abc import Sequence
from numbers import Real

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.registry import MODELS


@MODELS.register_module()
class TwoViewDataPreprocessor(BaseDataPreprocessor):
    """Preprocessor that normalizes ``inputs`` and scales ``token_inputs`` to [0, 1].

    It moves the batch to the device. The tokenizer owns its pixel mapping, so the second view does
    not depend on ``mean`` and ``std``. A tokenizer in training takes its ``inputs`` in [0, 1]:
    ``mean=[0], std=[255]``.

    Args:
        mean, std: In pixel units, one number for each channel or one for all.
        token_scale: The pixel value that becomes 1 in ``token_inputs``; 65535 for 16-bit images.
        bgr_to_rgb: Reverse the channels of both views (OpenCV loads BGR).
        non_blocking: Copy to the device, as uint8 where the images are, while the process goes on.
            It needs batches in pinned memory, as the training loops order them where there is a
            GPU.

    Raises:
        UserError: ``mean`` and ``std`` fit neither one channel nor those of the images, ``std`` is
            not positive, a batch is not stacked, or ``token_scale`` does not bring values near
            [0, 1].
    """

    def __init__(
        self,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        token_scale: float = 255.0,
        bgr_to_rgb: bool = False,
        non_blocking: bool = True,
    ):
        super().__init__(non_blocking)
        mean, std = ([value] if isinstance(value, Real) else list(value) for value in (mean, std))
        if not mean or len(mean) != len(std):
            raise UserError(
                f'data_preprocessor.mean has {len(mean)} values and std has {len(std)}; '
                'give one for each channel, or one for all'
            )
        if min(std) <= 0 or token_scale <= 0:
            raise UserError(
                f'data_preprocessor: std={std} and token_scale={token_scale} must be positive'
            )
        self.token_scale = token_scale
        self.bgr_to_rgb = bgr_to_rgb
        self.register_buffer('mean', torch.tensor(mean).float().view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).float().view(-1, 1, 1), persistent=False)

    def token_pixels(self) -> dict[str, float | bool]:
        """Return what ``token_inputs`` depend on besides the images; for the token cache."""
        return dict(token_scale=float(self.token_scale), bgr_to_rgb=self.bgr_to_rgb)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return the batch with its ``inputs`` (B, C, H, W) and ``token_inputs`` (B, C, H', W')."""
        for name in ('inputs', 'token_inputs'):
            self._check_stacked(name, data)
        if 'token_inputs' in data:
            self._check_token_scale(data['token_inputs'])
        data = dict(self.cast_data(data))
        data['inputs'] = (self._channels(data['inputs']) - self.mean) / self.std
        if 'token_inputs' in data:
            data['token_inputs'] = self._channels(data['token_inputs']) / self.token_scale
        return data

    def _channels(self, images: Tensor) -> Tensor:
        channels = images.shape[1]
        if len(self.mean) not in (1, channels):
            raise UserError(
                f'data_preprocessor.mean and std have {len(self.mean)} values, but the images '
                f'have {channels} channels; give one for each channel, or one for all'
            )
        if self.bgr_to_rgb and channels not in (1, 3):
            raise UserError(
                f'data_preprocessor.bgr_to_rgb=True, but the images have {channels} channels, '
                'which are neither BGR nor gray; set bgr_to_rgb=False'
            )
        if self.bgr_to_rgb:
            images = images.flip(1)
        return images.float()

    @staticmethod
    def _check_stacked(name: str, data: dict) -> None:
        value = data.get(name)
        if value is None and name == 'inputs':
            raise UserError(
                f'The batch has {sorted(data)} but no inputs; end the pipeline with PackMIMInputs'
            )
        if value is not None and (not isinstance(value, Tensor) or value.ndim != 4):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UserError(
                f'{name} of the batch is {found}, expected one tensor (B, C, H, W); set '
                "collate_fn=dict(type='default_collate') in the dataloader"
            )

    def _check_token_scale(self, images: Tensor) -> None:
        # uint8 can't be far off. Twice the scale leaves room for the overshoot of a resize filter.
        if images.is_floating_point() and images.max() > 2 * self.token_scale:
            raise UserError(
                f'data_preprocessor.token_scale={self.token_scale:g}, but token_inputs reach '
                f'{images.max().item():g}; set it to the largest value that a pixel can have, '
                '65535 for 16-bit images'
            )
