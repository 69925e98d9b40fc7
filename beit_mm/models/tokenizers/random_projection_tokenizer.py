import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import Tokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class RandomProjectionTokenizer(Tokenizer):
    """BEST-RQ's quantizer (arXiv 2202.01855, section 3.1): random, fixed, without any training.

    Features are multiplied by a random matrix (Xavier uniform) and normalized; the nearest of V
    random unit vectors is the token. Both are drawn from ``seed`` and are in the state dict.

    Args:
        features: As :class:`KMeansTokenizer`'s. The paper's input is standardized, as
            ``dict(type='PatchPixels', normalize=True, ...)`` does for each patch.
        code_dim: The paper's is 16.
    """

    has_codebook = True

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
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        self.features = MODELS.build(features).requires_grad_(False).eval()
        self.in_channels = self.features.in_channels
        generator = torch.Generator().manual_seed(seed)
        dims = self.features.dims
        bound = (6 / (dims + code_dim)) ** 0.5
        projection = torch.empty(dims, code_dim).uniform_(-bound, bound, generator=generator)
        codes = torch.randn(vocab_size, code_dim, generator=generator)
        self.register_buffer('projection', projection)
        self.register_buffer('codebook', F.normalize(codes, dim=-1))

    def train(self, mode: bool = True) -> 'RandomProjectionTokenizer':
        super().train(mode)
        self.features.eval()
        return self

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        self.check_images(images)
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        vectors = self.features(images, grid).float() @ self.projection.float()  # (B, h, w, D)
        # The length of a vector changes no argmax, so only the codes have to be unit vectors.
        return (vectors @ self.codebook.float().T).argmax(-1)

    def code_vectors(self) -> Tensor:
        """Return the codes (V, code_dim)."""
        return self.codebook
