import math

import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import Quantizer, UserError
from beit_mm.models.layers.joint_sum import joint_sum


class BinaryQuantizer(Quantizer):
    """Base of LFQ and BSQ: a code is the signs of ``bits`` numbers, times ``magnitude``.

    The vocabulary is 2 ** bits, and the id has the first sign as its highest bit. The loss is

        entropy_weight * (mean H(position) - diversity * H(batch))
            + commitment_weight * mean((z - code)^2)

    in nats, where a position has a softmax over all codes of 2 z.code / temperature. The first
    term makes each vector sure of its token and the batch (of all processes) use all of them. It
    is exact, and costs 2 ** (bits / 2) numbers for each position.

    Args:
        bits: From 1 to 20.
        entropy_weight, diversity, commitment_weight: See above.
        temperature: Only numbers nearer to 0 than about this have a gradient from the entropies.

    Raises:
        UserError: ``bits`` or ``temperature`` out of range.
    """

    magnitude: float

    def __init__(
        self,
        bits: int = 8,
        entropy_weight: float = 0.02,
        diversity: float = 1.0,
        temperature: float = 0.01,
        commitment_weight: float = 0.02,
    ):
        super().__init__()
        name = type(self).__name__
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 20:
            raise UserError(
                f'{name}.bits={bits!r}: expected an integer from 1 to 20 (2 ** bits tokens)'
            )
        if not isinstance(temperature, int | float) or not 1e-6 <= temperature < math.inf:
            raise UserError(
                f'{name}.temperature={temperature!r}: expected a number from 1e-6, as 0.01'
            )
        self.vocab_size = 2**bits
        self.in_dims = self.code_dim = bits
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature = temperature
        self.commitment_weight = commitment_weight
        self.register_buffer('mask', 2 ** torch.arange(bits - 1, -1, -1))

    def project(self, z: Tensor) -> Tensor:
        """Return what is compared with the codes."""
        return z

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        z = self.project(z)
        ids = self.encode(z)
        codes = self.lookup(ids)
        logits = 4 * self.magnitude * z.flatten(0, -2) / self.temperature  # of each bit to be 1
        position, batch = binary_code_entropies(logits)
        entropy = self.entropy_weight * (position - self.diversity * batch)
        auxiliary = entropy + self.commitment_weight * F.mse_loss(z, codes)
        return z + (codes - z).detach(), ids, dict(loss_auxiliary=auxiliary)

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return ((z > 0) * self.mask).sum(-1)

    def lookup(self, ids: Tensor) -> Tensor:
        bits = (ids[..., None] & self.mask) > 0
        return torch.where(bits, self.magnitude, -self.magnitude)


def binary_code_entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropies in nats of soft codes of independent bits, without a number for each code.

    The softmax over all 2 ** bits codes in {-1, 1} of their dot products with a vector is a product
    of one sigmoid for each bit. A position's entropy is then a sum over bits, and the distribution
    of the batch is the product of two matrices with a column for each value of half the bits.

    Args:
        logits: (N, bits), that each bit is 1.

    Returns:
        The mean entropy of a position (of this process), and the entropy of the mean distribution
        of all processes' positions. Both have a gradient.
    """
    position = (F.softplus(logits) - logits * logits.sigmoid()).sum(1).mean()
    half = logits.shape[1] // 2
    total = _product(logits[:, :half]).T @ _product(logits[:, half:])
    mean = joint_sum(total) / joint_sum(total.new_tensor(len(logits)))
    # Without the clamp a code of probability 0 has an infinite gradient.
    batch = torch.special.entr(mean.clamp(min=torch.finfo(mean.dtype).tiny)).sum()
    return position, batch


def _product(logits: Tensor) -> Tensor:
    """Return probabilities (N, 2 ** bits) of logits (N, bits)."""
    joint = logits.new_ones(len(logits), 1)
    for bit in logits.T:
        joint = torch.cat([joint * (-bit).sigmoid()[:, None], joint * bit.sigmoid()[:, None]], 1)
    return joint
