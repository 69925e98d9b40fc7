from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchDVAETokenizer(DVAETokenizer):
    """A dVAE that computes on the token grid alone, for CPUs and for any stride.

    Encoder and decoder are :class:`PatchEncoder` and :class:`PatchDecoder`; arguments as
    :class:`DVAETokenizer`.
    """

    coder = 'Patch'
