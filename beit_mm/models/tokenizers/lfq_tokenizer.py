from collections.abc import Mapping

from beit_mm.contracts.constructor import with_defaults
from beit_mm.models.tokenizers.conv_tokenizer import ConvTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class LFQTokenizer(ConvTokenizer):
    """Look-up-free quantization (MAGVIT-v2, arXiv 2310.05737); the vocabulary is 2 ** ``bits``.

    Args:
        bits, entropy_weight, diversity, temperature, commitment_weight: See
            :class:`BinaryQuantizer`.
        kwargs: See :class:`ConvTokenizer`.
    """

    quantizer_type = 'beit_mm.LFQ'

    def __init__(
        self,
        bits: int = 8,
        entropy_weight: float = 0.02,
        diversity: float = 1.0,
        temperature: float = 0.01,
        commitment_weight: float = 0.02,
        **kwargs,
    ):
        quantizer = dict(
            type=self.quantizer_type,
            bits=bits,
            entropy_weight=entropy_weight,
            diversity=diversity,
            temperature=temperature,
            commitment_weight=commitment_weight,
        )
        super().__init__(MODELS.build(quantizer), bits, **kwargs)

    @classmethod
    def vocab_size_of(cls, config: Mapping) -> int:
        return 2 ** with_defaults(cls, config)['bits']
