from abc import abstractmethod
from collections.abc import Mapping
from numbers import Integral

import torch
import torch.nn as nn
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from beit_mm.contracts.constructor import with_defaults
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.load_report import check_load
from beit_mm.contracts.tensor_names import rename_tensors
from beit_mm.contracts.token_source import TokenSource
from beit_mm.registry import MODELS


class Target(BaseModel):
    """Base of what a masked image model predicts: a function of the second view of an image.

    It owns its pixel mapping: images come in [0, 1]. As ``model.tokenizer`` it is frozen.

    Attributes:
        stride: Pixels per position and side.
        vocab_size: Number of token ids; None for continuous targets.
        target_dims: Values per position of continuous targets; None for tokens.
        in_channels: Channels of the images; None takes any.
        has_codebook: :meth:`code_vectors` is there.
        has_posterior: :meth:`posterior` is there.
    """

    stride: int
    vocab_size: int | None = None
    target_dims: int | None = None
    in_channels: int | None = None
    has_codebook: bool = False
    has_posterior: bool = False

    def __init__(
        self,
        data_preprocessor: dict | BaseDataPreprocessor | None = None,
        init_cfg: dict | None = None,
    ):
        if isinstance(data_preprocessor, dict):  # MMEngine's own build needs a default scope
            data_preprocessor = MODELS.build(data_preprocessor)
        super().__init__(data_preprocessor, init_cfg)

    @classmethod
    def vocab_size_of(cls, config: Mapping) -> int | None:
        """Return the ``vocab_size`` of what ``config`` builds, without building it."""
        found = with_defaults(cls, config).get('vocab_size')
        return found if isinstance(found, Integral) else cls.vocab_size

    @classmethod
    def stride_of(cls, config: Mapping) -> int | None:
        """Return the ``stride`` of what ``config`` builds."""
        return with_defaults(cls, config).get('stride')

    @classmethod
    def target_dims_of(cls, config: Mapping) -> int | None:
        """Return the ``target_dims`` of what ``config`` builds."""
        return cls.target_dims

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Return token ids (B, h, w), or values (B, h, w, D), of images (B, C, H, W) in [0, 1]."""

    def code_vectors(self) -> Tensor:
        """Return a vector for each token, (V, D); near ones mean alike."""
        raise UserError(
            f"{type(self).__name__} has no code_vectors(); set model.head.target='ids', or use a "
            'tokenizer that has a codebook, for example a DVAETokenizer'
        )

    def posterior(self, images: Tensor) -> Tensor:
        """Return probabilities (B, h, w, V) of the tokens of images (B, C, H, W) in [0, 1]."""
        raise UserError(
            f"{type(self).__name__} has no posterior(); set model.head.target='ids', or use a "
            'tokenizer that has one, for example a DVAETokenizer'
        )

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """Return :meth:`encode` of the images; a target that is not trained has no other mode."""
        if mode != 'tensor':
            raise UserError(
                f"mode={mode!r}: {type(self).__name__} is not trained, expected 'tensor'; use it "
                'as model.tokenizer of a masked image model'
            )
        return self.encode(inputs)


class Tokenizer(Target, TokenSource):
    """Base of the targets that are discrete: an image becomes a grid of token ids.

    :meth:`encode` is all that pre-training asks for. A tokenizer that also has :meth:`decode` is
    validated by its reconstructions, and one that has :meth:`loss` is trained by a Runner. With
    ``init_cfg=dict(type='Pretrained', checkpoint=...)`` the same class is the frozen one.

    Args:
        vocab_size: Number of token ids; they are in [0, vocab_size).
        stride: Pixels per token and side.

    Attributes:
        can_decode: :meth:`decode` is there.
        renamed_tensors: Names of tensors in state dicts of earlier versions, and today's; a name
            that ends with a point stands for all that begin with it.
    """

    can_decode: bool = False
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
    def predict(self, inputs: Tensor) -> list[dict[str, Tensor]]:
        """Encode and decode images (B, C, H, W) in [0, 1].

        Returns:
            For each image ``image`` (C, H, W), ``ids`` (h, w) and, where the tokenizer can decode,
            ``recon`` (C, H, W), the decoded ids, clamped to [0, 1].
        """
        ids = self.encode(inputs)
        samples = [dict(image=image, ids=grid) for image, grid in zip(inputs, ids, strict=True)]
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
        if self._range_checked or images.numel() == 0:
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


def check_integers(owner: str, least: int, **values: int) -> None:
    """Raise a UserError unless all arguments ``values`` of ``owner`` are integers >= ``least``."""
    for name, value in values.items():
        if not isinstance(value, Integral) or value < least:
            raise UserError(f'{owner}.{name}={value!r}: expected an integer >= {least}')


def tokenizer_of(model: nn.Module) -> tuple[Target | None, str]:
    """Return the tokenizer of a model, itself or its part, and the prefix of its tensors."""
    if isinstance(model, Target):
        return model, ''
    part = dict(model.named_children()).get('tokenizer')
    return (part, 'tokenizer.') if isinstance(part, Target) else (None, '')


def is_target_class(cls) -> bool:
    """Return whether what a config names is a class of targets."""
    return isinstance(cls, type) and issubclass(cls, Target)
