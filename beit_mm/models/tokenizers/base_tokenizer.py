from abc import abstractmethod
from numbers import Integral

import torch
from mmengine.model import BaseModel
from torch import Tensor

from beit_mm.checkpoints import check_load
from beit_mm.registry import MODELS


class BaseTokenizer(BaseModel):
    """Images -> a grid of visual tokens.

    :meth:`encode` is all that masked image modeling asks for. A tokenizer that also has
    :meth:`decode` can be validated by its reconstructions, and one that also has :meth:`loss`
    is trained by the Runner as it is. With
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` the same class is the frozen one.

    Args:
        vocab_size: Number of different tokens; ids are in [0, vocab_size).
        stride: Pixels per token and side.
    """

    def __init__(
        self,
        vocab_size: int,
        stride: int,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        if isinstance(data_preprocessor, dict):  # MMEngine's would need a default scope
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)
        for name, value, least in (('vocab_size', vocab_size, 2), ('stride', stride, 1)):
            if not isinstance(value, Integral) or value < least:
                raise ValueError(
                    f'{type(self).__name__}.{name}={value!r}: expected an integer >= {least}'
                )
        self._range_checked = False
        self.vocab_size = int(vocab_size)
        self.stride = int(stride)

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> ids (B, H/stride, W/stride), long, in [0, vocab_size)."""

    def decode(self, ids: Tensor) -> Tensor:
        """ids (B, h, w) -> images (B, C, h*stride, w*stride), nominally in [0, 1]."""
        raise ValueError(
            f'{type(self).__name__} has no decode(): it makes tokens, but no images from them; '
            'choose a tokenizer with a decoder for reconstructions'
        )

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) in [0, 1] -> losses and what is logged beside them."""
        raise ValueError(
            f'{type(self).__name__} has no loss(), so it cannot be trained; use it as '
            'model.tokenizer of a masked image model, or train another tokenizer'
        )

    def usage_counts(self) -> Tensor | None:
        """Counts (vocab_size,) of the tokens of the latest training steps of this process.

        A tokenizer that is trained keeps them in a ``CodeUsage`` named ``usage``; without one
        there is nothing to watch.
        """
        usage = getattr(self, 'usage', None)
        return None if usage is None else usage.counts.sum(0)

    @property
    def can_decode(self) -> bool:
        return type(self).decode is not BaseTokenizer.decode

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> list[dict[str, Tensor]]:
        """(B, C, H, W) in [0, 1] -> one dict for each image.

        ``image`` (C, H, W), ``ids`` (h, w) and, where the tokenizer can decode, ``recon``
        (C, H, W) clamped to [0, 1]: the decoded ids, exactly what a stored token says.
        """
        ids = self.encode(inputs)
        samples = [dict(image=image, ids=grid) for image, grid in zip(inputs, ids, strict=True)]
        if self.can_decode:
            for sample, recon in zip(samples, self.decode(ids).clamp(0, 1), strict=True):
                sample['recon'] = recon
        return samples

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor | dict | list[dict]:
        """``tensor`` gives the ids, ``loss`` and ``predict`` the methods of these names."""
        if mode == 'tensor':
            return self.encode(inputs)
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'predict':
            return self.predict(inputs)
        raise ValueError(f"mode={mode!r}: expected 'tensor', 'loss' or 'predict'")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        """Encoder, decoder and the like are loaded as a whole or not at all.

        As a part of another model a tokenizer may be absent: it has its own checkpoint then.
        """
        check_load(self, state_dict, prefix, parts=True, may_be_absent=bool(prefix))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def check_channels(self, images: Tensor) -> None:
        """ValueError unless the images have the ``in_channels`` of the tokenizer."""
        if images.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}.in_channels={self.in_channels}, but the images have '
                f'{images.shape[1]} channels; set in_channels={images.shape[1]} or change the '
                'loading of the images'
            )

    def check_range(self, images: Tensor) -> None:
        """ValueError unless the first images are in [0, 1], give or take a filter's overshoot.

        Only the first, since looking at values makes a GPU wait.
        """
        if self._range_checked or images.numel() == 0:
            return
        low, high = float(images.detach().min()), float(images.detach().max())
        if not (low >= -0.125 and high <= 1.125):  # NaN is neither
            raise ValueError(
                f'{type(self).__name__} takes images in [0, 1], but these are in [{low:.4g}, '
                f'{high:.4g}]; set data_preprocessor.token_scale, or in its own training '
                'data_preprocessor.std, to the value that white has in the files (255 for 8 bits, '
                '65535 for 16), with mean=[0.0]'
            )
        self._range_checked = True

    def check_divisible(self, images: Tensor) -> None:
        """ValueError unless ``stride`` divides both sides of the images."""
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f'{type(self).__name__}.stride={self.stride} does not divide the images of '
                f'{height} x {width} pixels (height x width); resize or crop them to a multiple '
                f'of {self.stride} in the data pipeline, or change stride'
            )
