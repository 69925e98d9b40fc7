import torch
from torch import Tensor

from beit_mm.contracts import Quantizer, UserError
from beit_mm.contracts.packages import need
from beit_mm.contracts.recorded import is_recorded
from beit_mm.models.layers.joint_sum import num_processes
from beit_mm.models.quantizers.ema_vector_quantizer import random_rows
from beit_mm.registry import MODELS


@MODELS.register_module()
class ResidualVQ(Quantizer):
    """Residual vector quantization (RQ-VAE, arXiv 2203.01941): each level quantizes what is left.

    The codes of a position add up, and its token is the number that their ids write in base
    ``num_codes``, the coarsest first: the vocabulary is num_codes ** num_levels. Codebooks, moving
    averages and k-means start are those of vector-quantize-pytorch, which must be installed.

    Args:
        num_codes: In each level's codebook.
        commitment_weight: Of the commitment loss, summed over the levels.
        decay: Of the codebooks' moving averages.
        reset_share: A code is put on a random vector of the batch when its moving count falls
            under this share of the mean, tokens per step / ``num_codes``; 0 never.
    """

    def __init__(
        self,
        num_codes: int = 16,
        num_levels: int = 2,
        code_dim: int = 16,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        reset_share: float = 0.05,
    ):
        super().__init__()
        self.vocab_size = num_codes**num_levels
        if self.vocab_size > 2**20:
            raise UserError(
                f'ResidualVQ.num_codes={num_codes} ** num_levels={num_levels} are '
                f'{self.vocab_size} tokens; a head can predict 2^20 at the most, take fewer'
            )
        self.in_dims = self.code_dim = code_dim
        self.num_codes = num_codes
        self.commitment_weight = commitment_weight
        self.reset_share = reset_share
        self.vq = need('vector_quantize_pytorch', 'ResidualVQ').ResidualVQ(
            dim=code_dim,
            num_quantizers=num_levels,
            codebook_size=num_codes,
            decay=decay,
            kmeans_init=True,
            rotation_trick=False,
            # The library's own answer is that of the first time that it was asked in this program.
            sync_codebook=num_processes() > 1,
        )
        powers = num_codes ** torch.arange(num_levels - 1, -1, -1)
        self.register_buffer('powers', powers, persistent=False)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        # The library's threshold is a constant; here it depends on the batch of all processes.
        due = num_processes() * z[..., 0].numel() / self.num_codes
        for level in self.vq.layers:
            book = level._codebook
            book.threshold_ema_dead_code = book.reset_cluster_size = self.reset_share * due
            book.has_dead_code_replacement = self.reset_share > 0
            if num_processes() > 1:  # the library's doesn't wait for what the others send
                book.sample_fn = book.replace_sample_fn = _same_vectors
        codes, levels, losses = self.vq(z.flatten(1, 2))
        ids = (levels * self.powers).sum(-1).view(z.shape[:-1])
        return codes.view_as(z), ids, dict(loss_commit=self.commitment_weight * losses.sum())

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        if not (is_recorded(z) or all(level._codebook.initted for level in self.vq.layers)):
            # The library would start them with this batch, in evaluation too.
            raise UserError(
                'ResidualVQ has no codes yet, they start with the first training step: train the '
                "tokenizer, or load it with init_cfg=dict(type='Pretrained', checkpoint=...)"
            )
        # The library's forward fixes the batch of an export, and its lookup does.
        rest, ids = z.float(), 0
        for codes, power in zip(self.vq.codebooks, self.powers, strict=True):
            squares = rest.square().sum(-1, keepdim=True) + codes.square().sum(-1)
            level = (squares - 2 * rest @ codes.T).argmin(-1)
            rest, ids = rest - codes[level], ids + power * level
        return ids

    def lookup(self, ids: Tensor) -> Tensor:
        levels = ids[..., None] // self.powers % self.num_codes
        parts = zip(self.vq.codebooks, levels.unbind(-1), strict=True)
        return sum(codes[level] for codes, level in parts)


def _same_vectors(samples: Tensor, number: int) -> Tensor:
    """Return ``number`` of the vectors (1, N, D), the same ones in all processes."""
    return random_rows(samples[0], number)[None]
