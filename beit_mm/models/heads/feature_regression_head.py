import torch.nn as nn
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from beit_mm.models.layers.init import init_linear_and_norm
from beit_mm.registry import MODELS

ERRORS = dict(
    mse=lambda pred, target: (pred - target).square().mean(-1),
    l1=lambda pred, target: (pred - target).abs().mean(-1),
    smooth_l1=lambda pred, target: F.smooth_l1_loss(pred, target, reduction='none').mean(-1),
    cosine=lambda pred, target: 1 - F.cosine_similarity(pred, target, dim=-1),
)


@MODELS.register_module()
class FeatureRegressionHead(BaseModule):
    """Continuous targets in the place of tokens, for ablations: pixels (as in MAE) or features.

    Args:
        target_dims: Values of a patch in the targets; the model says what they have to be.
        dims: Channels of the features.
        error: ``mse``, ``l1``, ``smooth_l1`` (means over the values) or ``cosine`` (1 - cosine).
        positions: ``masked`` or ``all`` patches have a loss.
        init_std: See BEiTEncoder.
    """

    vocab_size = None

    def __init__(
        self,
        target_dims: int,
        dims: int,
        error: str = 'mse',
        positions: str = 'masked',
        init_std: float = 0.02,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        for name, value, known in (
            ('error', error, tuple(ERRORS)),
            ('positions', positions, ('masked', 'all')),
        ):
            if value not in known:
                raise ValueError(f'FeatureRegressionHead.{name}={value!r}: expected one of {known}')
        self.target_dims = target_dims
        self.dims = dims
        self.positions = positions
        self.error = ERRORS[error]
        self.proj = nn.Linear(dims, target_dims)
        init_linear_and_norm(self.proj, init_std)

    def loss(self, feats: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Features (M, C), targets (M, target_dims) -> mean ``loss`` over the patches."""
        pred = self.predict(feats)
        if len(targets) == 0:
            return dict(loss=pred.sum())
        return dict(loss=self.error(pred, targets.float()).mean())

    def predict(self, feats: Tensor) -> Tensor:
        """Features (M, C) -> (M, target_dims), float32."""
        return self.proj(feats).float()
