from beit_mm.models.tokenizers.lfq_tokenizer import LFQTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class BSQTokenizer(LFQTokenizer):
    """Binary spherical quantization (arXiv 2406.07548); arguments as :class:`LFQTokenizer`."""

    quantizer_type = 'beit_mm.BSQ'
