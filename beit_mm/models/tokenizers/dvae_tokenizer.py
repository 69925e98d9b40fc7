import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.conv_block import conv_decoder, conv_encoder
from beit_mm.registry import MODELS

from .base_tokenizer import BaseTokenizer

RECON_LOSSES = dict(mse=F.mse_loss, l1=F.l1_loss, smooth_l1=F.smooth_l1_loss)


@MODELS.register_module()
class DVAETokenizer(BaseTokenizer):
    r"""Discrete variational auto-encoder (BEiT section 2.1; DALL-E, arXiv 2102.12092, appendix A).

    A convolutional encoder gives V logits at each position of the token grid. In training a
    Gumbel-softmax sample of them mixes the rows of the codebook (V, code_dim) and a mirrored
    decoder draws the image. The token of a position is the argmax of its logits: that is what
    :meth:`encode` returns and what predictions and validation decode.

    The loss, with all terms independent of batch size and image size, is::

        recon + kl_weight * KL + usage_weight * (ln V - H(mean posterior))

    ``recon`` is the mean over pixels and channels. ``KL`` is that of the encoder's categorical
    posterior (not of the relaxed sample) to the uniform prior, in nats: summed over V, mean over
    positions and batch, in [0, ln V]. DALL-E sums the KL over the h*w positions with weight
    beta = 6.6 and divides the whole loss by the H*W*C values of the image, so here

        kl_weight = beta * h*w / (H*W*C) = beta / (stride^2 * C),

    6.6 / 192 = 0.034 for stride 8 and 3 channels, when ``recon`` is a negative log-likelihood in
    nats. Squared error is one times 2*sigma^2 (a Gaussian of fixed sigma); with
    ``recon_loss='mse'`` multiply by 2*sigma^2, the noise allowed per pixel: for beta = 6.6 and
    sigma = 0.1 that is 7e-4.

    Args:
        stride: Pixels per token and side, a power of two.
        width: Channels on the token grid; each higher resolution has half as many.
        num_blocks: Residual blocks on the token grid, in the encoder and in the decoder.
        temperature: Of the Gumbel-softmax; ``TokenizerScheduleHook`` anneals it by this name,
            and ``kl_weight`` and ``usage_weight`` alike.
        straight_through: The decoder sees one-hot samples, the gradient the soft ones.
        logit_scale: A number standardises the logit of each code over batch and positions (batch
            normalisation without affine part, running statistics in eval mode) and multiplies by
            this. No code can then lose all its logits to the others, which is how a vocabulary
            collapses. None takes the logits as they are (DALL-E).
        usage_weight: Weight of ln V minus the entropy of the posterior's mean over the batch: 0
            when the batch uses all codes equally.
        usage_window: ``codes_used`` and ``perplexity`` describe the argmax tokens of this many
            latest training steps (of this process).
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        in_channels: int = 3,
        stride: int = 8,
        width: int = 64,
        num_blocks: int = 2,
        code_dim: int = 64,
        temperature: float = 1.0,
        kl_weight: float = 0.0,
        straight_through: bool = False,
        recon_loss: str = 'mse',
        logit_scale: float | None = None,
        usage_weight: float = 0.0,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        if stride < 2 or stride & (stride - 1):
            raise ValueError(f'DVAETokenizer.stride={stride}: expected a power of two >= 2')
        if recon_loss not in RECON_LOSSES:
            raise ValueError(
                f'DVAETokenizer.recon_loss={recon_loss!r}: expected one of {list(RECON_LOSSES)}'
            )
        self.in_channels = in_channels
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.straight_through = straight_through
        self.recon_loss = recon_loss
        self.logit_scale = logit_scale
        self.usage_weight = usage_weight

        self._build(width, num_blocks, code_dim)
        if logit_scale is not None:
            self.logit_norm = nn.BatchNorm2d(vocab_size, affine=False)

        window = torch.zeros(usage_window, vocab_size, dtype=torch.long)
        self.register_buffer('usage', window, persistent=False)
        self.usage_step = 0

    def _build(self, width: int, num_blocks: int, code_dim: int) -> None:
        sizes = dict(stride=self.stride, width=width, num_blocks=num_blocks)
        self.encoder = conv_encoder(self.in_channels, self.vocab_size, **sizes)
        codes = torch.randn(self.vocab_size, code_dim) / math.sqrt(code_dim)
        self.codebook = nn.Parameter(codes)
        self.decoder = conv_decoder(code_dim, self.in_channels, **sizes)

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, V, h, w), float32 whatever autocast says."""
        self.check_divisible(images)
        if images.shape[1] != self.in_channels:
            raise ValueError(
                f'{type(self).__name__}.in_channels={self.in_channels}, but the images have '
                f'{images.shape[1]} channels; set in_channels={images.shape[1]} or change the '
                'loading of the images'
            )
        logits = self.encoder(self._mapped(images)).float()
        if self.logit_scale is not None:
            logits = self.logit_scale * self.logit_norm(logits)
        return logits

    def encode(self, images: Tensor) -> Tensor:
        return self.logits(images).argmax(1)

    def decode(self, ids: Tensor) -> Tensor:
        return self._image(self._draw(self.codebook[ids]))

    def _draw(self, codes: Tensor) -> Tensor:
        """Mixed or chosen codes (B, h, w, code_dim) -> what the decoder draws of them."""
        return self.decoder(codes.permute(0, 3, 1, 2))

    def _mapped(self, images: Tensor) -> Tensor:
        """Images in [0, 1] -> the encoder's range."""
        return 2 * images - 1

    def _image(self, maps: Tensor) -> Tensor:
        """The decoder's output -> images (B, C, H, W), nominally in [0, 1]."""
        return (maps + 1) / 2

    def _recon_loss(self, maps: Tensor, images: Tensor) -> Tensor:
        return RECON_LOSSES[self.recon_loss](self._image(maps), images)

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.temperature <= 0:
            raise ValueError(
                f'DVAETokenizer.temperature={self.temperature}: expected a positive number; '
                'check the end value of its schedule'
            )
        logits = self.logits(inputs).permute(0, 2, 3, 1)  # (B, h, w, V)
        with torch.autocast(logits.device.type, enabled=False):
            log_posterior = logits.log_softmax(-1)
            kl = kl_to_uniform(log_posterior)
            sample = F.gumbel_softmax(logits, self.temperature, hard=self.straight_through)
        maps = self._draw(sample @ self.codebook).float()
        self._count(logits.argmax(-1))

        losses = dict(
            loss_recon=self._recon_loss(maps, inputs),
            loss_kl=self.kl_weight * kl,
        )
        if self.usage_weight:
            positions = log_posterior[..., 0].numel()
            log_mean = log_posterior.logsumexp((0, 1, 2)) - math.log(positions)
            losses['loss_usage'] = self.usage_weight * kl_to_uniform(log_mean)
        number = logits.new_tensor
        return dict(
            **losses,
            kl=kl.detach(),
            **self._usage(),
            temperature=number(self.temperature),
            kl_weight=number(self.kl_weight),
        )

    @torch.no_grad()
    def _count(self, ids: Tensor) -> None:
        """Put the histogram of one step in the place of the oldest one."""
        ids = ids.flatten()
        row = self.usage[self.usage_step % len(self.usage)]
        row.zero_().scatter_add_(0, ids, torch.ones_like(ids))
        self.usage_step += 1

    def _usage(self) -> dict[str, Tensor]:
        counts = self.usage.sum(0)
        share = counts / counts.sum()
        return dict(
            codes_used=(counts > 0).sum().float(),
            perplexity=torch.special.entr(share).sum().exp(),
        )


def kl_to_uniform(log_p: Tensor) -> Tensor:
    """Mean KL divergence of categoricals (..., V) to the uniform one, in nats, in [0, ln V]."""
    divergence = (log_p.exp() * log_p).sum(-1) + math.log(log_p.shape[-1])
    return divergence.mean()
