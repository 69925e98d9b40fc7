import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.dist import broadcast
from torch import Tensor

from beit_mm.contracts import Quantizer, UserError, check_choice
from beit_mm.models.layers.joint_sum import JointBatchNorm2d, joint_sum, num_processes
from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset
from beit_mm.registry import MODELS


def soft(logits: Tensor, temperature: float) -> Tensor:
    """Sample by Gumbel-softmax (arXiv 1611.01144): not one-hot, unbiased for the relaxed loss."""
    return F.gumbel_softmax(logits, temperature)


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """Sample by Gumbel-softmax, with its one-hot argmax as value."""
    return F.gumbel_softmax(logits, temperature, hard=True)


def reinmax(logits: Tensor, temperature: float) -> Tensor:
    """Sample by ReinMax (arXiv 2304.08612, algorithm 2): second-order accurate, no Gumbel noise.

    The sample is drawn from softmax(logits) whatever the temperature, which is that of the
    gradient alone; the paper's are 1 or a little more.
    """
    samples = torch.distributions.Categorical(logits=logits.detach()).sample()
    return reinmax_of(F.one_hot(samples, logits.shape[-1]).to(logits.dtype), logits, temperature)


def reinmax_of(sample: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``sample`` (..., V), one-hot, with ReinMax's gradient to the logits.

    The gradient is 2 * that of the softmax shifted half way to the sample - 1/2 * that of the
    softmax: Heun's rule in the place of Euler's, which straight-through is.
    """
    probabilities = logits.softmax(-1)
    middle = (sample + (logits / temperature).softmax(-1)) / 2
    # softmax(log(middle) - sg(logits) + logits) is `middle` with the gradient of a softmax there.
    middle = ((middle.log() - logits).detach() + logits).softmax(-1)
    surrogate = 2 * middle - probabilities / 2
    return sample + (surrogate - surrogate.detach())


RELAXATIONS = dict(soft=soft, straight_through=straight_through, reinmax=reinmax)


@MODELS.register_module()
class GumbelQuantizer(Quantizer):
    r"""Categorical tokens of a discrete VAE (BEiT section 2.1; DALL-E, arXiv 2102.12092).

    The encoder gives V logits at each position. In training a relaxed sample of them mixes the
    rows of the codebook (V, code_dim); a token is the argmax of the logits. The losses, which
    depend neither on batch size nor on image size, are::

        loss_kl    = kl_weight * KL
        loss_usage = usage_weight * (ln V - H(mean posterior))

    ``KL`` is that of the encoder's categorical posterior (not of the relaxed sample) to the
    uniform prior, in nats: summed over V, mean over positions and batch, in [0, ln V]. DALL-E sums
    the KL over the h*w positions with weight beta = 6.6 and divides the whole loss by the H*W*C
    values of the image, so here

        kl_weight = beta * h*w / (H*W*C) = beta / (stride^2 * C),

    6.6 / 192 = 0.034 for stride 8 and 3 channels, when the reconstruction loss is a negative
    log-likelihood in nats. Squared error is one times 2*sigma^2 (a Gaussian of fixed sigma); with
    ``recon_loss='mse'`` multiply by 2*sigma^2, the noise allowed per pixel: for beta = 6.6 and
    sigma = 0.1 that is 7e-4.

    Args:
        code_dim: Channels of a code. None has no codebook: the samples (B, h, w, V) themselves go
            to the decoder.
        code_std: Standard deviation of the first codes; None takes 1 / sqrt(code_dim).
        relaxation: ``soft`` (Gumbel-softmax samples), ``straight_through`` (the decoder sees
            one-hot samples, the gradient the soft ones) or ``reinmax`` (one-hot samples with a
            second-order gradient, arXiv 2304.08612; keep the temperature at 1 or a little more).
        temperature: Of the relaxation. ``AttributeScheduleHook`` anneals it as
            ``quantizer.temperature``; ``kl_weight`` and ``usage_weight`` alike.
        kl_weight, usage_weight: See above.
        usage_target: The entropy that is enough, as a share of ln(min(V, positions of the batch)):
            above it there is no usage term. None takes ln V.
        logit_scale: A number standardizes the logit of each code over the batches of all processes
            and their positions (batch normalization without affine part, running statistics in
            eval mode) and multiplies by this. No code can then lose all its logits to the others,
            which is how a vocabulary collapses. None takes the logits as they are (DALL-E).
        reset_dead_codes: Arguments of :class:`DeadCodeReset`. A dead code becomes a copy, with a
            little noise, of one that is drawn by its use. None keeps dead codes.
    """

    has_posterior = True

    def __init__(
        self,
        vocab_size: int = 8192,
        code_dim: int | None = 64,
        code_std: float | None = None,
        relaxation: str = 'soft',
        temperature: float = 1.0,
        kl_weight: float = 0.0,
        usage_weight: float = 0.0,
        usage_target: float | None = None,
        logit_scale: float | None = None,
        reset_dead_codes: dict | None = None,
    ):
        super().__init__()
        for key, value in dict(kl_weight=kl_weight, usage_weight=usage_weight).items():
            if not 0 <= value < math.inf:  # NaN is neither
                raise UserError(
                    f'GumbelQuantizer.{key}={value}: expected 0 or more; a negative weight '
                    'rewards what the term is there to prevent'
                )
        if logit_scale is not None and not 0 < logit_scale < math.inf:
            raise UserError(
                f'GumbelQuantizer.logit_scale={logit_scale}: expected a positive number, or None'
            )
        if usage_target is not None and not 0 < usage_target <= 1:
            raise UserError(
                f'GumbelQuantizer.usage_target={usage_target}: expected a share in (0, 1]'
            )
        check_choice('GumbelQuantizer', RELAXATIONS, relaxation=relaxation)
        self.vocab_size = self.in_dims = vocab_size
        self.code_dim = vocab_size if code_dim is None else code_dim
        self.relaxation = relaxation
        self.temperature = temperature
        self.kl_weight = kl_weight
        self.usage_weight = usage_weight
        self.usage_target = usage_target
        self.logit_scale = logit_scale
        self.codebook = None
        if code_dim is not None:
            codes = torch.randn(vocab_size, code_dim)
            # In place: on the meta device other products import torch's compiler.
            codes.div_(math.sqrt(code_dim)) if code_std is None else codes.mul_(code_std)
            self.codebook = nn.Parameter(codes)
        if logit_scale is not None:
            self.logit_norm = JointBatchNorm2d(vocab_size)
        self.dead_code_reset = DeadCodeReset.build(reset_dead_codes, vocab_size)

    def logits(self, z: Tensor) -> Tensor:
        """Return logits (B, h, w, V) of the encoder's output, standardized if asked for."""
        if self.logit_scale is None:
            return z
        return self.logit_scale * self.logit_norm(z.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def encode(self, z: Tensor) -> Tensor:
        return self.logits(z).argmax(-1)

    def posterior(self, z: Tensor) -> Tensor:
        """Return probabilities (B, h, w, V) at temperature 1."""
        return self.logits(z).softmax(-1)

    def lookup(self, ids: Tensor) -> Tensor:
        if self.codebook is None:
            return nn.functional.one_hot(ids, self.vocab_size).float()
        return self.codebook[ids]

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if self.temperature <= 0:
            raise UserError(
                f'GumbelQuantizer.temperature={self.temperature}: expected a positive number; '
                'check the end value of its schedule'
            )
        logits = self.logits(z)  # (B, h, w, V)
        ids = logits.argmax(-1)
        if self.training and self.dead_code_reset is not None:
            self.dead_code_reset.count(ids)
        log_posterior = logits.log_softmax(-1)
        kl = kl_to_uniform(log_posterior)
        sample = RELAXATIONS[self.relaxation](logits, self.temperature)
        codes = sample if self.codebook is None else sample @ self.codebook
        losses = dict(loss_kl=self.kl_weight * kl)
        if self.usage_weight:
            losses['loss_usage'] = self.usage_weight * self.missing_usage(log_posterior)
        logged = dict(temperature=self.temperature, kl_weight=self.kl_weight)
        return (
            codes,
            ids,
            dict(
                **losses,
                kl=kl.detach(),
                **{name: logits.new_tensor(value) for name, value in logged.items()},
            ),
        )

    def missing_usage(self, log_posterior: Tensor) -> Tensor:
        """Return what the entropy of the mean posterior lacks, over all processes.

        Args:
            log_posterior: (B, h, w, V).
        """
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
    def start_step(self, rows: list[Tensor]) -> None:
        """Make dead codes noisy copies of living ones, the same in all processes."""
        found = None if self.dead_code_reset is None else self.dead_code_reset.dead()
        if found is None:
            return
        dead, counts = found
        sources = counts.double().multinomial(len(dead), replacement=True)
        broadcast(sources, src=0)
        for table in (*rows, *([] if self.codebook is None else [self.codebook])):
            copies = table[sources]
            # A hundredth of the spread: enough that the copies part, too little for another code.
            noise = 0.01 * table.std() * torch.randn_like(copies)
            broadcast(noise, src=0)
            table[dead] = copies + noise
        if self.logit_scale is not None:
            for statistic in (self.logit_norm.running_mean, self.logit_norm.running_var):
                statistic[dead] = statistic[sources]


def kl_to_uniform(log_p: Tensor) -> Tensor:
    """Return the mean KL divergence of categoricals (..., V) to the uniform one, in [0, ln V]."""
    divergence = (log_p.exp() * log_p).sum(-1) + math.log(log_p.shape[-1])
    return divergence.mean()
