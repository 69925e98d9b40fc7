from beit_mm.contracts import check_integers
from beit_mm.models.tokenizers.conv_tokenizer import ConvTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class VQVAETokenizer(ConvTokenizer):
    """VQ-VAE (arXiv 1711.00937) with unit vectors of few dimensions (ViT-VQGAN, arXiv 2110.04627).

    Args:
        code_dim, commitment_weight, decay, kmeans_iters, reset_dead_codes: See
            :class:`EMAVectorQuantizer`.
        kwargs: See :class:`ConvTokenizer`.
    """

    renamed_tensors = ConvTokenizer.renamed_tensors | {
        'codebook.weight': 'quantizer.weight',
        'codebook.initialised': 'quantizer.initialized',
    }

    def __init__(
        self,
        vocab_size: int = 8192,
        code_dim: int = 16,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        kmeans_iters: int = 10,
        reset_dead_codes: dict | None = None,
        **kwargs,
    ):
        check_integers(type(self).__name__, 2, vocab_size=vocab_size)
        check_integers(type(self).__name__, 1, code_dim=code_dim)
        quantizer = dict(
            type='beit_mm.EMAVectorQuantizer',
            vocab_size=vocab_size,
            code_dim=code_dim,
            commitment_weight=commitment_weight,
            decay=decay,
            kmeans_iters=kmeans_iters,
            reset_dead_codes=reset_dead_codes,
        )
        super().__init__(quantizer, code_dim, **kwargs)
