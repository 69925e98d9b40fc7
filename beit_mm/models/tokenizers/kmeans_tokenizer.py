import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.layers.mini_batch_kmeans import MiniBatchKMeans
from beit_mm.models.tokenizers.base_tokenizer import BaseTokenizer
from beit_mm.registry import MODELS


@MODELS.register_module()
class KMeansTokenizer(BaseTokenizer):
    """The nearest of V centers of patch features is the token; k-means finds them in one pass.

    The Runner trains it as any other tokenizer, for one pass over the data. Nothing is
    differentiated: the loss has a zero gradient, ``lr=0.0`` says so in the config.

    Args:
        features: Config of ``forward(images in [0, 1], grid) -> (B, N, dims)`` with ``dims``:
            PatchPixels, PatchHOG, or a teacher such as BackboneFeatures for any registered
            backbone. They are frozen.
        unit: Scale the features to unit length first, so that their direction alone counts.
        start_vectors: The k-means++ start waits for this many; None takes 20 for each token.
        seed: Of the start.
    """

    def __init__(
        self,
        vocab_size: int,
        features: dict,
        stride: int = 8,
        unit: bool = False,
        start_vectors: int | None = None,
        seed: int = 0,
        usage_window: int = 50,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, stride, data_preprocessor, init_cfg)
        self.features = MODELS.build(features).requires_grad_(False).eval()
        self.unit = unit
        self.kmeans = MiniBatchKMeans(vocab_size, self.features.dims, start_vectors, seed)
        self.usage = CodeUsage(vocab_size, usage_window)

    def train(self, mode: bool = True) -> 'KMeansTokenizer':
        super().train(mode)
        self.features.eval()
        if not mode:  # a data set that is smaller than start_vectors
            self.kmeans.start()
        return self

    @torch.no_grad()
    def vectors(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, h, w, D)."""
        self.check_divisible(images)
        self.check_range(images)
        grid = (images.shape[2] // self.stride, images.shape[3] // self.stride)
        vectors = self.features(images, grid).float().unflatten(1, grid)
        return F.normalize(vectors, dim=-1) if self.unit else vectors

    def encode(self, images: Tensor) -> Tensor:
        if not self.kmeans.fitted:
            raise ValueError(
                'KMeansTokenizer has no centers yet: train it for one pass over the data, at '
                f'least {self.kmeans.start_vectors} patches (start_vectors), and load it with '
                "init_cfg=dict(type='Pretrained', checkpoint=...)"
            )
        return self.kmeans(self.vectors(images))[0]

    def decode(self, ids: Tensor) -> Tensor:
        if not self.can_decode:
            return super().decode(ids)
        return self.features.image(self.code_vectors()[ids].flatten(1, 2), tuple(ids.shape[1:]))

    @property
    def can_decode(self) -> bool:
        """Centers that are pixels are images."""
        plain = not self.unit and not getattr(self.features, 'normalize', False)
        return plain and hasattr(self.features, 'image')

    def code_vectors(self) -> Tensor:
        """(V, D)."""
        return self.kmeans.centers.detach()

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        vectors = self.vectors(inputs)
        zero = 0 * self.kmeans.centers.sum()  # connected to the graph, for the optimizer's sake
        if self.training:
            self.kmeans.fit(vectors)
        if not self.kmeans.fitted:
            return dict(loss_distortion=zero)
        ids, distances = self.kmeans(vectors)
        return dict(loss_distortion=zero + distances.mean(), **self.usage(ids))
