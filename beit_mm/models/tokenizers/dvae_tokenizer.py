import math

import torch
import torch.nn as nn
from mmengine.dist import broadcast
from torch import Tensor

from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.layers.conv_block import conv_decoder, conv_encoder
from beit_mm.models.layers.data_init import standardize_output_
from beit_mm.models.layers.joint_batch_norm import JointBatchNorm2d
from beit_mm.models.layers.joint_sum import joint_sum, num_processes
from beit_mm.models.layers.relaxations import RELAXATIONS
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset
from beit_mm.models.tokenizers.base_tokenizer import BaseTokenizer
from beit_mm.registry import MODELS

RECON_LOSSES = dict(mse='MSEReconLoss', l1='L1ReconLoss', smooth_l1='SmoothL1ReconLoss')


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
        temperature: Of the Gumbel-softmax; ``AttributeScheduleHook`` anneals it by this name,
            and ``kl_weight`` and ``usage_weight`` alike.
        straight_through: Short for ``relaxation='straight_through'``.
        relaxation: ``soft`` (Gumbel-softmax samples), ``straight_through`` (the decoder sees
            one-hot samples, the gradient the soft ones) or ``reinmax`` (one-hot samples with a
            second-order gradient, arXiv 2304.08612; keep the temperature at 1 or a little more).
        recon_loss: ``mse``, ``l1``, ``smooth_l1``, or the config of a loss of ``models/losses``,
            which also says what the decoder's maps mean.
        logit_scale: A number standardizes the logit of each code over the batches of all processes
            and their positions (batch normalization without affine part, running statistics in
            eval mode) and multiplies by this. No code can then lose all its logits to the others,
            which is how a vocabulary collapses. None takes the logits as they are (DALL-E).
        usage_weight: Weight of ln V minus the entropy of the posterior's mean over the batches of
            all processes: 0 when they use all codes equally.
        usage_target: The entropy that is enough, as a share of ln(min(V, positions of these
            batches)): above it there is no usage term. None takes ln V itself.
        data_init: Standardize the logit of each code to this standard deviation with the first
            training batch (of all processes): every code starts with an equal chance. None keeps
            the random logits.
        reset_dead_codes: ``dict(share=0.05, min_tokens=10, interval=100)``, any part of it, brings back
            dead codes each ``interval`` steps: one used less than ``share`` of the window's mean
            becomes a copy, with a little noise, of one that is drawn by its use. There is none
            before the window has ``min_tokens`` tokens for each code. None lets them die.
        usage_window: ``codes_used`` and ``perplexity`` describe the argmax tokens of this many
            latest training steps (of all processes).
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
        recon_loss: str | dict = 'mse',
        logit_scale: float | None = None,
        usage_weight: float = 0.0,
        relaxation: str | None = None,
        usage_target: float | None = None,
        data_init: float | None = None,
        reset_dead_codes: dict | None = None,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        name = type(self).__name__
        for key, value in dict(width=width, code_dim=code_dim).items():
            if value <= 0:
                raise ValueError(f'{name}.{key}={value}: expected a positive integer')
        for key, value in dict(kl_weight=kl_weight, usage_weight=usage_weight).items():
            if not 0 <= value < math.inf:  # NaN is neither
                raise ValueError(
                    f'{name}.{key}={value}: expected 0 or more; a negative weight '
                    'rewards what the term is there to prevent'
                )
        for key, value in dict(logit_scale=logit_scale, data_init=data_init).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f'{name}.{key}={value}: expected a positive number, or None')
        if usage_target is not None and not 0 < usage_target <= 1:
            raise ValueError(f'{name}.usage_target={usage_target}: expected a share in (0, 1]')
        relaxation = relaxation or ('straight_through' if straight_through else 'soft')
        if relaxation not in RELAXATIONS:
            raise ValueError(
                f'{name}.relaxation={relaxation!r}: expected one of {list(RELAXATIONS)}'
            )
        self.in_channels = in_channels
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.relaxation = relaxation
        self.recon_loss = build_recon_loss(recon_loss, name)
        self.logit_scale = logit_scale
        self.usage_weight = usage_weight
        self.usage_target = usage_target
        self.data_init = data_init
        self.reset_dead_codes = (
            None if reset_dead_codes is None else DeadCodeReset(reset_dead_codes, name)
        )

        self._build(width, num_blocks, code_dim)
        if logit_scale is not None:
            self.logit_norm = JointBatchNorm2d(vocab_size)

        if data_init is not None:
            self.register_buffer('initialized', torch.tensor(False))
        self.usage = CodeUsage(vocab_size, usage_window)

    def check_power_of_two(self) -> None:
        """ValueError unless ``stride`` is reached by halving."""
        if self.stride < 2 or self.stride & (self.stride - 1):
            raise ValueError(
                f'{type(self).__name__}.stride={self.stride}: expected a power of two >= 2; '
                'PatchDVAETokenizer takes any stride'
            )

    def _build(self, width: int, num_blocks: int, code_dim: int) -> None:
        """Sets ``encoder``, ``codebook`` and ``decoder``: what another architecture overrides."""
        self.check_power_of_two()
        sizes = dict(stride=self.stride, width=width, num_blocks=num_blocks)
        self.encoder = conv_encoder(self.in_channels, self.vocab_size, **sizes)
        codes = torch.randn(self.vocab_size, code_dim) / math.sqrt(code_dim)
        self.codebook = nn.Parameter(codes)
        maps = self.in_channels * self.recon_loss.maps_per_channel
        self.decoder = conv_decoder(code_dim, maps, **sizes)

    def logits(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, V, h, w), float32 whatever autocast says."""
        self.check_divisible(images)
        self.check_channels(images)
        self.check_range(images)
        logits = self.encoder(self._mapped(images)).float()
        if self.logit_scale is not None:
            logits = self.logit_scale * self.logit_norm(logits)
        return logits

    def encode(self, images: Tensor) -> Tensor:
        return self.logits(images).argmax(1)

    def posterior(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> probabilities (B, h, w, V), at temperature 1."""
        return self.logits(images).permute(0, 2, 3, 1).softmax(-1)

    def code_vectors(self) -> Tensor:
        """(V, code_dim): codes that are near to each other draw alike."""
        return self.codebook

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
        return self.recon_loss.image(maps)

    def _recon_loss(self, maps: Tensor, images: Tensor) -> Tensor:
        return self.recon_loss(maps, images)

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        if self.temperature <= 0:
            raise ValueError(
                f'{type(self).__name__}.temperature={self.temperature}: expected a positive '
                'number; check the end value of its schedule'
            )
        if self.training:
            self._start(inputs)
            self._reset_dead_codes()
        logits = self.logits(inputs).permute(0, 2, 3, 1)  # (B, h, w, V)
        with torch.autocast(logits.device.type, enabled=False):
            log_posterior = logits.log_softmax(-1)
            kl = kl_to_uniform(log_posterior)
            sample = RELAXATIONS[self.relaxation](logits, self.temperature)
        maps = self._draw(sample @ self.codebook).float()
        usage = self.usage(logits.argmax(-1))

        losses = dict(
            loss_recon=self._recon_loss(maps, inputs),
            loss_kl=self.kl_weight * kl,
        )
        if self.usage_weight:
            losses['loss_usage'] = self.usage_weight * self._missing_usage(log_posterior)
        number = logits.new_tensor
        return dict(
            **losses,
            kl=kl.detach(),
            **usage,
            temperature=number(self.temperature),
            kl_weight=number(self.kl_weight),
        )

    def _missing_usage(self, log_posterior: Tensor) -> Tensor:
        """(B, h, w, V) -> what the entropy of all processes' mean posterior lacks."""
        total, positions = log_posterior.logsumexp((0, 1, 2)), log_posterior[..., 0].numel()
        if num_processes() > 1:
            # In double precision no code is so improbable that its part is rounded to nothing.
            joint = joint_sum(total.double().exp()).clamp(min=torch.finfo(torch.double).tiny)
            total = joint.log().to(total.dtype)
            positions = int(joint_sum(torch.tensor(positions, device=total.device)))
        missing = kl_to_uniform(total - math.log(positions))
        if self.usage_target is None:
            return missing
        enough = self.usage_target * math.log(min(self.vocab_size, positions))
        return (missing - math.log(self.vocab_size) + enough).clamp(min=0)

    @torch.no_grad()
    def _start(self, images: Tensor) -> None:
        """``data_init``: shift and scale the last convolution by what the batch says."""
        if self.data_init is None or self.initialized:
            return
        logits = self.encoder(self._mapped(images))
        standardize_output_(self._last_conv(), logits, self.data_init)
        self.initialized.fill_(True)

    @torch.no_grad()
    def _reset_dead_codes(self) -> None:
        """``reset_dead_codes``: dead codes become noisy copies of living ones, the same in all processes."""
        found = self.reset_dead_codes.dead(self.usage) if self.reset_dead_codes else None
        if found is None:
            return
        dead, counts = found
        sources = counts.double().multinomial(len(dead), replacement=True)
        broadcast(sources, src=0)
        last = self._last_conv()
        for rows in (last.weight, last.bias, *self._code_rows()):
            copies = rows[sources]
            # A hundredth of the spread: enough that the copies part, too little to be another code.
            noise = 0.01 * rows.std() * torch.randn_like(copies)
            broadcast(noise, src=0)
            rows[dead] = copies + noise
        if self.logit_scale is not None:
            for rows in (self.logit_norm.running_mean, self.logit_norm.running_var):
                rows[dead] = rows[sources]

    def _last_conv(self) -> nn.Conv2d:
        """The 1x1 convolution to the logits, a row of its weight for each code."""
        return [module for module in self.encoder.modules() if isinstance(module, nn.Conv2d)][-1]

    def _code_rows(self) -> list[Tensor]:
        """Parameters with a row for each code that :meth:`codebook` is made of."""
        return [self.codebook]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        trained = any(name.startswith(f'{prefix}encoder.') for name in state_dict)
        if self.data_init is not None and trained:
            state_dict.setdefault(f'{prefix}initialized', torch.tensor(True))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def build_recon_loss(config: str | dict, owner: str) -> nn.Module:
    """The loss of a short name or of a config."""
    if isinstance(config, dict):
        return MODELS.build(config)
    if config not in RECON_LOSSES:
        raise ValueError(
            f'{owner}.recon_loss={config!r}: expected one of {list(RECON_LOSSES)}, or the config '
            "of a loss such as dict(type='LogitLaplaceReconLoss')"
        )
    return MODELS.build(dict(type=f'beit_mm.{RECON_LOSSES[config]}'))


def kl_to_uniform(log_p: Tensor) -> Tensor:
    """Mean KL divergence of categoricals (..., V) to the uniform one, in nats, in [0, ln V]."""
    divergence = (log_p.exp() * log_p).sum(-1) + math.log(log_p.shape[-1])
    return divergence.mean()
