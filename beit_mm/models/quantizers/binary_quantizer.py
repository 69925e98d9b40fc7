import math

import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import Quantizer, UserError
from beit_mm.models.layers.binary_code_entropy import binary_code_entropies


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
