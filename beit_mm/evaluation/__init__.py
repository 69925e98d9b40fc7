from .masked_token_accuracy import MaskedTokenAccuracy
from .tokenizer_quality import TokenizerQuality

__all__ = ['MaskedTokenAccuracy', 'TokenizerQuality']
