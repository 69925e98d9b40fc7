from .base_tokenizer import BaseTokenizer
from .dvae_tokenizer import DVAETokenizer

__all__ = ['BaseTokenizer', 'DVAETokenizer']
