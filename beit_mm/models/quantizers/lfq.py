from beit_mm.models.quantizers.binary_quantizer import BinaryQuantizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class LFQ(BinaryQuantizer):
    """Look-up-free quantization (MAGVIT-v2, arXiv 2310.05737, section 3.1): the signs of numbers.

    The entries of a code are -1 and 1. Loss and arguments are those of
    :class:`BinaryQuantizer`.
    """

    magnitude = 1.0
