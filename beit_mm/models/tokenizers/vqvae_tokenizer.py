from torch import Tensor

from beit_mm.models.quantizers.dead_code_reset import DeadCodeReset
from beit_mm.models.quantizers.ema_codebook import EMACodebook
from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class VQVAETokenizer(AutoencoderTokenizer):
    """VQ-VAE (arXiv 1711.00937) with unit vectors of few dimensions (ViT-VQGAN, arXiv 2110.04627).

    The token of a position is the code with the largest cosine; the codes follow their vectors by
    moving averages from a k-means start (:class:`EMACodebook`).

    Args:
        beta: Weight of the commitment loss, the mean squared distance of unit vectors to codes.
        decay, kmeans_iters: Of the codebook.
        reset_dead_codes: ``dict(share=0.05, min_tokens=10, interval=100)``, any part of it, puts dead codes
            on vectors of the batch each ``interval`` steps: those used less than ``share`` of the
            window's mean, once the window has ``min_tokens`` tokens for each code.
        kwargs: As :class:`AutoencoderTokenizer`.
    """

    def __init__(
        self,
        vocab_size: int = 8192,
        code_dim: int = 16,
        beta: float = 0.25,
        decay: float = 0.99,
        kmeans_iters: int = 10,
        reset_dead_codes: dict | None = None,
        **kwargs,
    ):
        super().__init__(vocab_size, code_dim, **kwargs)
        self.beta = beta
        self.codebook = EMACodebook(vocab_size, code_dim, decay, kmeans_iters)
        self.reset_dead_codes = (
            None
            if reset_dead_codes is None
            else DeadCodeReset(reset_dead_codes, type(self).__name__)
        )

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        if self.training and self.reset_dead_codes:
            self.reset_dead_codes.replace_dead(self.codebook, self.usage, z.detach())
        codes, ids, commitment = self.codebook(z)
        return codes, ids, dict(loss_commit=self.beta * commitment)

    def ids_of(self, z: Tensor) -> Tensor:
        return self.codebook.encode(z)

    def codes_of(self, ids: Tensor) -> Tensor:
        return self.codebook.weight[ids]

    def posterior(self, images: Tensor, temperature: float = 0.1) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, h, w, V): softmax of the cosines over ``temperature``."""
        return self.codebook.posterior(self.vectors(images), temperature)
