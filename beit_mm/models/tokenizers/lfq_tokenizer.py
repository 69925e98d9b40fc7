import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.binary_code_entropy import binary_code_entropies
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class LFQTokenizer(AutoencoderTokenizer):
    """Look-up-free quantization (MAGVIT-v2, arXiv 2310.05737): the signs of ``bits`` numbers.

    With ``spherical`` the numbers are a unit vector first: binary spherical quantization (BSQ,
    arXiv 2406.07548). The vocabulary is 2 ** bits. An entropy term makes each vector sure of its
    token and the batch (of all processes) use all of them; that is what keeps the vocabulary in
    use. It is exact, and costs 2 ** (bits / 2) numbers for each position.

    Args:
        entropy_weight: Of (mean entropy of a position - diversity * entropy of the batch), in nats.
        diversity: See ``entropy_weight``.
        temperature: Of the softmax over the codes that the entropies are those of. Only numbers
            nearer to 0 than about this have a gradient from them.
        beta: Weight of the commitment loss, the mean squared distance to the codes.
        kwargs: As :class:`AutoencoderTokenizer`, without ``vocab_size`` and ``code_dim``.

    Raises:
        ValueError: ``bits`` or ``temperature`` out of range.
    """

    def __init__(
        self,
        bits: int = 8,
        spherical: bool = False,
        entropy_weight: float = 0.02,
        diversity: float = 1.0,
        temperature: float = 0.01,
        beta: float = 0.02,
        **kwargs,
    ):
        if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= 20:
            raise ValueError(
                f'LFQTokenizer.bits={bits!r}: expected an integer from 1 to 20 (2 ** bits tokens)'
            )
        if not isinstance(temperature, int | float) or not 1e-6 <= temperature < math.inf:
            raise ValueError(
                f'LFQTokenizer.temperature={temperature!r}: expected a number from 1e-6, as 0.01'
            )
        super().__init__(2**bits, bits, **kwargs)
        self.spherical = spherical
        self.entropy_weight = entropy_weight
        self.diversity = diversity
        self.temperature = temperature
        self.beta = beta
        self.magnitude = bits**-0.5 if spherical else 1.0  # of each number of a code
        # A name in the state dict, and so in the digest that token caches and pre-trainings keep.
        self.quantizer = nn.Module()
        self.quantizer.register_buffer('mask', 2 ** torch.arange(bits - 1, -1, -1))

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if self.spherical:
            z = F.normalize(z, dim=-1)
        ids = self.ids_of(z)
        codes = self.codes_of(ids)
        logits = 4 * self.magnitude * z.flatten(0, -2) / self.temperature
        position, batch = binary_code_entropies(logits)
        entropy = self.entropy_weight * (position - self.diversity * batch)
        auxiliary = entropy + self.beta * F.mse_loss(z, codes)
        return z + (codes - z).detach(), ids, dict(loss_auxiliary=auxiliary)

    @torch.no_grad()
    def ids_of(self, z: Tensor) -> Tensor:
        return ((z > 0) * self.quantizer.mask).sum(-1)

    def codes_of(self, ids: Tensor) -> Tensor:
        bits = (ids[..., None] & self.quantizer.mask) > 0
        return torch.where(bits, self.magnitude, -self.magnitude)
