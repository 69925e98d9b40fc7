from collections.abc import Mapping

import torch
from torch import Tensor

from beit_mm.contracts.errors import UserError, check_integers
from beit_mm.contracts.load_report import check_load
from beit_mm.contracts.recorded import is_recorded
from beit_mm.contracts.target import Target
from beit_mm.contracts.tensor_names import rename_tensors


class TokenSource:
    """Mixin of the models whose training makes tokens that hooks watch.

    Attributes:
        vocab_size: Number of token ids; None where there are none to watch.
        latest_ids: Token ids of the latest training step, of this process, of any shape: those of
            a tokenizer in training, the targets of a masked image model.
    """

    vocab_size: int | None = None
    latest_ids: Tensor | None = None


class Tokenizer(Target, TokenSource):
    """Base of the targets that are discrete: an image becomes a grid of token ids.

    :meth:`encode` is all that pre-training asks for. A tokenizer that also has :meth:`decode` is
    validated by its reconstructions, and one that has :meth:`loss` is trained by a Runner. With
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` the same class is the frozen one.

    Args:
        vocab_size: Number of token ids; they are in [0, vocab_size).
        stride: Pixels per token and side.

    Attributes:
        renamed_tensors: Names of tensors in state dicts of earlier versions, and today's; a name
            that ends with a point stands for all that begin with it.
    """

    renamed_tensors: Mapping[str, str] = {}

    def __init__(
        self,
        vocab_size: int,
        stride: int,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor, init_cfg)
        check_integers(type(self).__name__, 2, vocab_size=vocab_size)
        check_integers(type(self).__name__, 1, stride=stride)
        self.vocab_size = int(vocab_size)
        self.stride = int(stride)
        self._range_checked = False

    def decode(self, ids: Tensor) -> Tensor:
        """Return images (B, C, h*stride, w*stride), nominally in [0, 1], of ids (B, h, w)."""
        raise UserError(
            f'{type(self).__name__} has no decode(): it makes tokens, but no images from them; '
            'choose a tokenizer with a decoder for reconstructions'
        )

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        """Return losses, and values for the log, of images (B, C, H, W) in [0, 1].

        The token ids of the step are kept in ``latest_ids``.
        """
        raise UserError(
            f'{type(self).__name__} has no loss(), so it cannot be trained; use it as '
            'model.tokenizer of a masked image model, or train another tokenizer'
        )

    @torch.no_grad()
    def predict(self, inputs: Tensor) -> list[dict[str, Tensor | int]]:
        """Encode and decode images (B, C, H, W) in [0, 1].

        Returns:
            For each image ``image`` (C, H, W), ``ids`` (h, w), ``vocab_size`` and, where the
            tokenizer can decode, ``recon`` (C, H, W), the decoded ids, clamped to [0, 1].
        """
        ids = self.encode(inputs)
        pairs = zip(inputs, ids, strict=True)
        samples = [dict(image=image, ids=grid, vocab_size=self.vocab_size) for image, grid in pairs]
        if self.can_decode:
            for sample, recon in zip(samples, self.decode(ids).clamp(0, 1), strict=True):
                sample['recon'] = recon
        return samples

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor | dict | list[dict]:
        """Return :meth:`encode` (``tensor``), :meth:`loss` or :meth:`predict` of the images."""
        if mode not in ('tensor', 'loss', 'predict'):
            raise ValueError(f"mode={mode!r}: expected 'tensor', 'loss' or 'predict'")
        return dict(tensor=self.encode, loss=self.loss, predict=self.predict)[mode](inputs)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        rename_tensors(state_dict, prefix, self.renamed_tensors)
        # Encoder, decoder and the like are loaded as a whole or not at all. As a part of another
        # model a tokenizer may be absent: it has its own checkpoint then.
        check_load(self, state_dict, prefix, parts=True, may_be_absent=bool(prefix))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def check_images(self, images: Tensor) -> None:
        """Raise a UserError unless channels, size and range of the images are what is expected."""
        if self.awaited:
            self.check_start()
        self.check_channels(images)
        self.check_divisible(images)
        self.check_range(images)

    def check_channels(self, images: Tensor) -> None:
        channels = images.shape[1]
        if self.in_channels not in (None, channels):
            raise UserError(
                f'{type(self).__name__}.in_channels={self.in_channels}, but the images have '
                f'{channels} channels; set in_channels={channels} or change the loading of the '
                'images'
            )

    def check_range(self, images: Tensor) -> None:
        """Raise a UserError unless the first images are in [0, 1].

        The overshoot of a resize filter is allowed. Later images are not looked at, since that
        makes a GPU wait.
        """
        if self._range_checked or is_recorded(images) or images.numel() == 0:
            return
        low, high = float(images.detach().min()), float(images.detach().max())
        if not (low >= -0.125 and high <= 1.125):  # NaN is neither
            raise UserError(
                f'{type(self).__name__} takes images in [0, 1], but these are in [{low:.4g}, '
                f'{high:.4g}]; set data_preprocessor.token_scale, or in its own training '
                'data_preprocessor.std, to the value that white has in the files (255 for 8 bits, '
                '65535 for 16), with mean=[0.0]'
            )
        self._range_checked = True

    def check_divisible(self, images: Tensor) -> None:
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise UserError(
                f'{type(self).__name__}.stride={self.stride} does not divide the images of '
                f'{height} x {width} pixels (height x width); resize or crop them to a multiple '
                f'of {self.stride} in the data pipeline, or change stride'
            )
