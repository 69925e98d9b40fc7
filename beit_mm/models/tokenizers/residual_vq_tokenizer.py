import torch
from torch import Tensor

from beit_mm.models.layers.joint_sum import num_processes
from beit_mm.models.quantizers.ema_codebook import random_rows
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.models.tokenizers.vq_library import vq_library
from beit_mm.registry import MODELS


@MODELS.register_module()
class ResidualVQTokenizer(AutoencoderTokenizer):
    """Residual vector quantization (RQ-VAE, arXiv 2203.01941): each level quantizes what is left.

    The codes of a position add up, and its token is the number that their ids write in base
    ``num_codes``, the coarsest first: ``vocab_size`` = num_codes ** num_levels. Codebooks, moving
    averages and k-means start are those of vector-quantize-pytorch.

    Args:
        num_codes: In each level's codebook.
        beta: Weight of the commitment loss, summed over the levels.
        decay: Of the codebooks' moving averages.
        reset_share: A code is put on a random vector of the batch when its moving count falls
            under this share of its due, tokens per step / ``num_codes``; 0 never.
        kwargs: As :class:`AutoencoderTokenizer`.
    """

    def __init__(
        self,
        num_codes: int = 16,
        num_levels: int = 2,
        code_dim: int = 16,
        beta: float = 0.25,
        decay: float = 0.99,
        reset_share: float = 0.05,
        **kwargs,
    ):
        if num_codes**num_levels > 2**20:
            raise ValueError(
                f'ResidualVQTokenizer.num_codes={num_codes} ** num_levels={num_levels} are '
                f'{num_codes**num_levels} tokens; a head can predict 2^20 at the most, take fewer'
            )
        super().__init__(num_codes**num_levels, code_dim, **kwargs)
        self.beta = beta
        self.reset_share = reset_share
        self.num_codes = num_codes
        self.quantizer = vq_library('ResidualVQTokenizer').ResidualVQ(
            dim=code_dim,
            num_quantizers=num_levels,
            codebook_size=num_codes,
            decay=decay,
            kmeans_init=True,
            rotation_trick=False,
            # Its own answer is that of the first time that it was asked in this program.
            sync_codebook=num_processes() > 1,
        )
        powers = num_codes ** torch.arange(num_levels - 1, -1, -1)
        self.register_buffer('powers', powers, persistent=False)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        # Counts are those of all processes.
        due = num_processes() * z[..., 0].numel() / self.num_codes
        for level in self.quantizer.layers:
            book = level._codebook
            # What the constructor makes of its threshold; here it depends on the batch.
            book.threshold_ema_dead_code = book.reset_cluster_size = self.reset_share * due
            book.has_dead_code_replacement = self.reset_share > 0
            if num_processes() > 1:  # the library's doesn't wait for what the others send
                book.sample_fn = book.replace_sample_fn = _same_vectors
        codes, levels, losses = self.quantizer(z.flatten(1, 2))
        ids = (levels * self.powers).sum(-1).view(z.shape[:-1])
        return codes.view_as(z), ids, dict(loss_commit=self.beta * losses.sum())

    @torch.no_grad()
    def ids_of(self, z: Tensor) -> Tensor:
        if not all(level._codebook.initted for level in self.quantizer.layers):
            # The library would start them with this batch, in evaluation too.
            raise ValueError(
                'ResidualVQTokenizer has no codes yet, they start with the first training step: '
                "train it, or load it with init_cfg=dict(type='Pretrained', checkpoint=...)"
            )
        levels = self.quantizer(z.flatten(1, 2), freeze_codebook=True)[1]
        return (levels * self.powers).sum(-1).view(z.shape[:-1])

    def codes_of(self, ids: Tensor) -> Tensor:
        levels = ids.flatten()[None, :, None] // self.powers % self.num_codes  # (1, M, levels)
        codes = self.quantizer.get_output_from_indices(levels)
        return codes.view(*ids.shape, -1)


def _same_vectors(samples: Tensor, number: int) -> Tensor:
    """Vectors (1, N, D) of each process -> (1, number, D), the same ones in all of them."""
    return random_rows(samples[0], number)[None]
