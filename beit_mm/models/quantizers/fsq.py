import math
from collections.abc import Sequence

import torch
from torch import Tensor

from beit_mm.contracts import Quantizer, UserError
from beit_mm.registry import MODELS


@MODELS.register_module()
class FSQ(Quantizer):
    """Finite scalar quantization (arXiv 2309.15505, section 3): bound a few numbers and round them.

    Dimension i has L_i values, and the vocabulary is their product. With h = (L - 1) (1 + eps) / 2
    and an offset o of 1/2 for even L, else 0,

        code = round(h tanh(z + atanh(o / h)) - o) / floor(L / 2),

    with a straight-through gradient of the rounding. Ids count the values in mixed radix, the
    first dimension fastest. There is no codebook, and no loss beside the reconstruction. All
    numbers may run to one end of tanh in the first steps, where no gradient brings them back:
    ``FSQTokenizer(scale=...)`` prevents that.

    Args:
        levels: Values of each dimension, at least 3; the paper takes (8, 6, 5) for about 2^8
            tokens, (8, 8, 8) for 2^9, (8, 5, 5, 5) for 2^10 and (7, 5, 5, 5, 5) for 2^12.
    """

    def __init__(self, levels: Sequence[int] = (8, 6, 5)):
        super().__init__()
        if min(levels, default=0) < 3:
            raise UserError(
                f'FSQ.levels={tuple(levels)}: expected 3 or more in each dimension; for two '
                'values of each take LFQ'
            )
        self.vocab_size, self.in_dims = math.prod(levels), len(levels)
        self.code_dim = self.in_dims
        levels = torch.tensor(levels)
        self.register_buffer('levels', levels, persistent=False)
        basis = torch.cat([levels.new_ones(1), levels[:-1].cumprod(0)])
        self.register_buffer('basis', basis, persistent=False)

    def forward(self, z: Tensor, eps: float = 1e-3) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        half = (self.levels - 1) * (1 + eps) / 2
        offset = torch.where(self.levels % 2 == 0, 0.5, 0.0)
        bounded = (z + (offset / half).atanh()).tanh() * half - offset
        rounded = bounded + (bounded.round() - bounded).detach()
        center = self.levels // 2
        ids = ((rounded.round().long() + center) * self.basis).sum(-1)
        return rounded / center, ids, {}

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        return self(z)[1]

    def lookup(self, ids: Tensor) -> Tensor:
        center = self.levels // 2
        return (ids[..., None] // self.basis % self.levels - center) / center
