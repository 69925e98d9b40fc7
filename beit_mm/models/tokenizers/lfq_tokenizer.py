import torch
from torch import Tensor

from beit_mm.registry import MODELS

from .autoencoder_tokenizer import AutoencoderTokenizer
from .vq_library import vq_library


@MODELS.register_module()
class LFQTokenizer(AutoencoderTokenizer):
    """Look-up-free quantisation (MAGVIT-v2, arXiv 2310.05737): the signs of ``bits`` numbers.

    With ``spherical`` the numbers are a unit vector first: binary spherical quantisation (BSQ,
    arXiv 2406.07548). The vocabulary is 2 ** bits. An entropy term makes each vector sure of its
    token and the batch use all of them; that is what keeps the vocabulary in use. The quantizer
    is that of vector-quantize-pytorch.

    Args:
        entropy_weight: Of (mean entropy of a position - diversity * entropy of the batch).
        diversity: See ``entropy_weight``.
        beta: Weight of the commitment loss.
        kwargs: As :class:`AutoencoderTokenizer`, without ``vocab_size`` and ``code_dim``.
    """

    def __init__(
        self,
        bits: int = 8,
        spherical: bool = False,
        entropy_weight: float = 0.02,
        diversity: float = 1.0,
        beta: float = 0.02,
        **kwargs,
    ):
        super().__init__(2**bits, bits, **kwargs)
        self.quantizer = vq_library('LFQTokenizer').LFQ(
            dim=bits,
            codebook_size=2**bits,
            entropy_loss_weight=entropy_weight,
            diversity_gamma=diversity,
            commitment_loss_weight=beta,
            spherical=spherical,
        )

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        codes, ids, auxiliary = self.quantizer(z.flatten(1, 2))
        return codes.view_as(z), ids.view(z.shape[:-1]), dict(loss_auxiliary=auxiliary)

    @torch.no_grad()
    def ids_of(self, z: Tensor) -> Tensor:
        powers = 2 ** torch.arange(z.shape[-1] - 1, -1, -1, device=z.device)
        return ((z > 0) * powers).sum(-1)

    def codes_of(self, ids: Tensor) -> Tensor:
        return self.quantizer.indices_to_codes(ids.flatten()[None]).view(*ids.shape, -1)
