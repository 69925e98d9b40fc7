import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.recorded import is_recorded
from beit_mm.models.tokenizers.feature_tokenizer import FeatureTokenizer
from beit_mm.models.tokenizers.mini_batch_kmeans import MiniBatchKMeans
from beit_mm.registry import MODELS


@MODELS.register_module()
class KMeansTokenizer(FeatureTokenizer):
    """The token of a patch is the nearest of V centers of its features, found by k-means.

    The Runner trains it as any other tokenizer, for one pass over the data
    (:class:`MiniBatchKMeans`). Nothing is differentiated: the loss has a zero gradient, and the
    config should have ``lr=0.0``.

    Args:
        features: See :class:`FeatureTokenizer`.
        unit: Scale the features to unit length first, so that their direction alone counts.
        start_vectors: The k-means++ start waits for this many; None takes 20 for each token.
        seed: Of the start.
    """

    renamed_tensors = {'kmeans.centres': 'kmeans.centers'}

    def __init__(
        self,
        vocab_size: int,
        features: dict,
        stride: int = 8,
        unit: bool = False,
        start_vectors: int | None = None,
        seed: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(vocab_size, features, stride, data_preprocessor, init_cfg)
        self.unit = unit
        self.kmeans = MiniBatchKMeans(vocab_size, self.features.dims, start_vectors, seed)

    @property
    def can_decode(self) -> bool:
        """Return whether the centers are images."""
        return self.features.can_draw and not self.unit

    def train(self, mode: bool = True) -> 'KMeansTokenizer':
        super().train(mode)
        if not mode:  # a data set that is smaller than start_vectors
            self.kmeans.start()
        return self

    def vectors(self, images: Tensor) -> Tensor:
        vectors = super().vectors(images)
        return F.normalize(vectors, dim=-1) if self.unit else vectors

    def encode(self, images: Tensor) -> Tensor:
        if not (is_recorded(images) or self.kmeans.fitted):
            raise UserError(
                'KMeansTokenizer has no centers yet: train it for one pass over the data, at '
                f'least {self.kmeans.start_vectors} patches (start_vectors), and load it with '
                "init_cfg=dict(type='Pretrained', checkpoint=...)"
            )
        return self.kmeans(self.vectors(images))[0]

    def decode(self, ids: Tensor) -> Tensor:
        if not self.can_decode:
            return super().decode(ids)
        return self.features.image(self.code_vectors()[ids])

    def code_vectors(self) -> Tensor:
        """Return the centers (V, D)."""
        return self.kmeans.centers.detach()

    def loss(self, inputs: Tensor) -> dict[str, Tensor]:
        vectors = self.vectors(inputs)
        zero = 0 * self.kmeans.centers.sum()  # connected to the graph, for the optimizer's sake
        if self.training:
            self.kmeans.fit(vectors)
        if not self.kmeans.fitted:
            return dict(loss_distortion=zero)
        ids, distances = self.kmeans(vectors)
        if self.training:
            self.latest_ids = ids
        return dict(loss_distortion=zero + distances.mean())
