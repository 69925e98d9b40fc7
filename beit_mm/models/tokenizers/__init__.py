from beit_mm.models.tokenizers.autoencoder_tokenizer import AutoencoderTokenizer
from beit_mm.models.tokenizers.bsq_tokenizer import BSQTokenizer
from beit_mm.models.tokenizers.dalle_pytorch_tokenizer import DALLEPytorchTokenizer
from beit_mm.models.tokenizers.dalle_tokenizer import DALLETokenizer
from beit_mm.models.tokenizers.dvae_tokenizer import DVAETokenizer
from beit_mm.models.tokenizers.feature_target import FeatureTarget
from beit_mm.models.tokenizers.fsq_tokenizer import FSQTokenizer
from beit_mm.models.tokenizers.kmeans_tokenizer import KMeansTokenizer
from beit_mm.models.tokenizers.lfq_tokenizer import LFQTokenizer
from beit_mm.models.tokenizers.patch_dvae_tokenizer import PatchDVAETokenizer
from beit_mm.models.tokenizers.random_projection_tokenizer import RandomProjectionTokenizer
from beit_mm.models.tokenizers.residual_vq_tokenizer import ResidualVQTokenizer
from beit_mm.models.tokenizers.vqkd_tokenizer import VQKDTokenizer
from beit_mm.models.tokenizers.vqvae_tokenizer import VQVAETokenizer

__all__ = [
    'AutoencoderTokenizer',
    'BSQTokenizer',
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
