import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.tokenizers.feature_tokenizer import FeatureTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class RandomProjectionTokenizer(FeatureTokenizer):
    """BEST-RQ's quantizer (arXiv 2202.01855, section 3.1): random, fixed, without any training.

    Features are multiplied by a random matrix (Xavier uniform) and normalized; the nearest of V
    random unit vectors is the token. Both are drawn from ``seed`` and are in the state dict.

    Args:
        features: See :class:`FeatureTokenizer`. The paper's input is standardized, as
            ``dict(type='PatchPixels', normalize=True, ...)`` does for each patch.
        code_dim: The paper's is 16.
    """

    def __init__(
        self,
        vocab_size: int,
        features: dict,
        stride: int = 8,
        code_dim: int = 16,
        seed: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, features, stride, data_preprocessor, init_cfg)
        generator = torch.Generator().manual_seed(seed)
        dims = self.features.dims
        bound = (6 / (dims + code_dim)) ** 0.5
        projection = torch.empty(dims, code_dim).uniform_(-bound, bound, generator=generator)
        codes = torch.randn(vocab_size, code_dim, generator=generator)
        self.register_buffer('projection', projection)
        self.register_buffer('codebook', F.normalize(codes, dim=-1))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        vectors = self.vectors(images) @ self.projection.float()  # (B, h, w, code_dim)
        # The length of a vector changes no argmax, so only the codes have to be unit vectors.
        return (vectors @ self.codebook.float().T).argmax(-1)

    def code_vectors(self) -> Tensor:
        """Return the codes (V, code_dim)."""
        return self.codebook
