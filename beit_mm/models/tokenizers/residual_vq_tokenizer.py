from collections.abc import Mapping

from beit_mm.contracts import check_integers
from beit_mm.contracts.constructor import with_defaults
from beit_mm.models.tokenizers.conv_tokenizer import ConvTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class ResidualVQTokenizer(ConvTokenizer):
    """Residual vector quantization (RQ-VAE, arXiv 2203.01941).

    The vocabulary is ``num_codes`` ** ``num_levels``.

    Args:
        num_codes, num_levels, code_dim, commitment_weight, decay, reset_share: See
            :class:`ResidualVQ`.
        kwargs: See :class:`ConvTokenizer`.
    """

    renamed_tensors = ConvTokenizer.renamed_tensors | {'quantizer.layers.': 'quantizer.vq.layers.'}

    def __init__(
        self,
        num_codes: int = 16,
        num_levels: int = 2,
        code_dim: int = 16,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        reset_share: float = 0.05,
        **kwargs,
    ):
        check_integers(type(self).__name__, 1, code_dim=code_dim)
        quantizer = dict(
            type='beit_mm.ResidualVQ',
            num_codes=num_codes,
            num_levels=num_levels,
            code_dim=code_dim,
            commitment_weight=commitment_weight,
            decay=decay,
            reset_share=reset_share,
        )
        super().__init__(quantizer, code_dim, **kwargs)

    @classmethod
    def vocab_size_of(cls, config: Mapping) -> int:
        options = with_defaults(cls, config)
        return options['num_codes'] ** options['num_levels']
