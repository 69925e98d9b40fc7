from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Integral

import torch.nn as nn
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import Tensor

from beit_mm.contracts.constructor import with_defaults
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.starting_weights import StartingWeights
from beit_mm.registry import MODELS


class Target(StartingWeights, BaseModel):
    """Base of what a masked image model predicts: a function of the second view of an image.

    It owns its pixel mapping: images come in [0, 1]. As ``model.tokenizer`` it is frozen.

    Attributes:
        stride: Pixels per position and side.
        vocab_size: Number of token ids; None for continuous targets.
        target_dims: Values per position of continuous targets; None for tokens.
        in_channels: Channels of the images; None takes any.
        can_decode: The ``decode`` of a :class:`~beit_mm.contracts.Tokenizer` is there.
        has_codebook: :meth:`code_vectors` is there.
        has_posterior: :meth:`posterior` is there.
    """

    stride: int
    vocab_size: int | None = None
    target_dims: int | None = None
    in_channels: int | None = None
    can_decode: bool = False
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

    @classmethod
    def for_inference(cls, config: Mapping) -> Mapping:
        """Return ``config`` without what only a training needs, with the same results."""
        return config

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Return token ids (B, h, w), or values (B, h, w, D), of images (B, C, H, W) in [0, 1]."""

    def encode_at(self, images: Tensor, where: Tensor) -> Tensor:
        """Return ids (M,) or values (M, D) of the positions in ``where`` (B, h, w), row by row."""
        tokens = self.encode(images)
        self.check_grid(tokens.shape[1:3], where)
        return tokens[where]

    def check_grid(self, grid: Sequence[int], where: Tensor) -> None:
        """Raise a UserError unless a ``grid`` (h, w) of tokens is that of the patches (B, h, w)."""
        h, w = where.shape[1:]
        if tuple(grid) != (h, w):
            raise UserError(
                f'The tokenizer makes {grid[0]} x {grid[1]} tokens of an image, but the backbone '
                f'has {h} x {w} patches; with model.tokenizer.stride={self.stride} set '
                f'token_size=({h * self.stride}, {w * self.stride}) in TwoViewResizedCrop'
            )

    def code_vectors(self) -> Tensor:
        """Return a vector for each token, (V, D); near ones mean alike."""
        raise UserError(
            f'{type(self).__name__} has no code_vectors(); choose a tokenizer that has a codebook, '
            "for example DVAETokenizer, or a head that needs none (SoftTokenHead: target='ids')"
        )

    def posterior(self, images: Tensor) -> Tensor:
        """Return probabilities (B, h, w, V) of the tokens of images (B, C, H, W) in [0, 1]."""
        raise UserError(
            f'{type(self).__name__} has no posterior(); choose a tokenizer that has one, for '
            "example DVAETokenizer, or a head that needs none (SoftTokenHead: target='ids')"
        )

    def forward(self, inputs: Tensor, mode: str = 'tensor') -> Tensor:
        """Return :meth:`encode` of the images; a target that is not trained has no other mode."""
        if mode != 'tensor':
            raise UserError(
                f"mode={mode!r}: {type(self).__name__} is not trained, expected 'tensor'; use it "
                'as model.tokenizer of a masked image model'
            )
        return self.encode(inputs)


def tokenizer_of(model: nn.Module) -> tuple[Target | None, str]:
    """Return the tokenizer of a model, itself or its part, and the prefix of its tensors."""
    if isinstance(model, Target):
        return model, ''
    part = dict(model.named_children()).get('tokenizer')
    return (part, 'tokenizer.') if isinstance(part, Target) else (None, '')


def is_target_class(cls) -> bool:
    """Return whether what a config names is a class of targets."""
    return isinstance(cls, type) and issubclass(cls, Target)
