from .base_tokenizer import BaseTokenizer
from .dalle_tokenizer import DALLETokenizer
from .dvae_tokenizer import DVAETokenizer
from .vqkd_tokenizer import VQKDTokenizer

__all__ = ['BaseTokenizer', 'DALLETokenizer', 'DVAETokenizer', 'VQKDTokenizer']
