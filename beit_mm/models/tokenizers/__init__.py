from .autoencoder_tokenizer import AutoencoderTokenizer
from .base_tokenizer import BaseTokenizer
from .dalle_pytorch_tokenizer import DALLEPytorchTokenizer
from .dalle_tokenizer import DALLETokenizer
from .dvae_tokenizer import DVAETokenizer
from .feature_target import FeatureTarget
from .fsq_tokenizer import FSQTokenizer
from .kmeans_tokenizer import KMeansTokenizer
from .lfq_tokenizer import LFQTokenizer
from .patch_dvae_tokenizer import PatchDVAETokenizer
from .random_projection_tokenizer import RandomProjectionTokenizer
from .residual_vq_tokenizer import ResidualVQTokenizer
from .vqkd_tokenizer import VQKDTokenizer
from .vqvae_tokenizer import VQVAETokenizer

__all__ = [
    'AutoencoderTokenizer',
    'BaseTokenizer',
    'DALLEPytorchTokenizer',
    'DALLETokenizer',
    'DVAETokenizer',
    'FSQTokenizer',
    'FeatureTarget',
    'KMeansTokenizer',
    'LFQTokenizer',
    'PatchDVAETokenizer',
    'RandomProjectionTokenizer',
    'ResidualVQTokenizer',
    'VQKDTokenizer',
    'VQVAETokenizer',
]
