from abc import abstractmethod

import torch.nn as nn
from torch import Tensor


class Quantizer(nn.Module):
    """Base of what turns the encoder's output into codes, for AutoencoderTokenizer.

    Attributes:
        vocab_size: Number of codes.
        in_dims: Channels that the encoder has to give.
        code_dim: Channels that the decoder gets.
        has_posterior: :meth:`posterior` is there.
    """

    vocab_size: int
    in_dims: int
    code_dim: int
    has_posterior: bool = False

    @abstractmethod
    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Quantize in training. Autocast is off, ``z`` is float32.

        Args:
            z: The encoder's output, (B, h, w, in_dims).

        Returns:
            Codes (B, h, w, code_dim) with a gradient to ``z``, token ids (B, h, w), and losses and
            values for the log beside the reconstruction.
        """

    def start_step(self, rows: list[Tensor]) -> None:
        """Prepare a training step, before the encoder runs; a quantizer may reset dead codes here.

        Args:
            rows: Parameters of encoder and decoder with a row for each of the quantizer's inputs.
        """

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Return token ids (B, h, w) of (B, h, w, in_dims); changes nothing."""

    @abstractmethod
    def lookup(self, ids: Tensor) -> Tensor:
        """Return the codes (..., code_dim) of token ids (...)."""

    def posterior(self, z: Tensor) -> Tensor:
        """Return probabilities (B, h, w, V) of (B, h, w, in_dims)."""
        raise NotImplementedError(f'{type(self).__name__} has no posterior')
