import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import MIMHead, Target, UserError, check_choice, check_integers
from beit_mm.contracts.derived import check_dims
from beit_mm.models.layers.init import init_linear_and_norm
from beit_mm.registry import MODELS

ERRORS = dict(
    mse=lambda pred, target: (pred - target).square().mean(-1),
    l1=lambda pred, target: (pred - target).abs().mean(-1),
    smooth_l1=lambda pred, target: F.smooth_l1_loss(pred, target, reduction='none').mean(-1),
    cosine=lambda pred, target: 1 - F.cosine_similarity(pred, target, dim=-1),
)


@MODELS.register_module()
class FeatureRegressionHead(MIMHead):
    """A linear regression of continuous targets, for ablations: pixels (as in MAE) or features.

    Args:
        target_dims: Values per patch of the targets; derived if left out.
        dims: Channels of the features; derived if left out.
        error: ``mse``, ``l1``, ``smooth_l1`` (means over the values) or ``cosine`` (1 - cosine).
        positions: ``masked`` or ``all`` patches have a loss.
        init_std: Standard deviation of the weights before truncation, see ``truncated_normal_``.
    """

    derived = ('target_dims', 'dims')

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
        check_choice('FeatureRegressionHead', ERRORS, error=error)
        check_choice('FeatureRegressionHead', ('masked', 'all'), positions=positions)
        check_integers('FeatureRegressionHead', 1, target_dims=target_dims, dims=dims)
        self.target_dims = target_dims
        self.dims = dims
        self.predicts_all = positions == 'all'
        self.error = ERRORS[error]
        self.proj = nn.Linear(dims, target_dims)
        init_linear_and_norm(self.proj, init_std)

    def loss(self, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return the mean error ``loss`` of features (M, C) and targets (M, target_dims)."""
        pred = self.predict(features)
        if len(targets) == 0:
            return dict(loss=pred.sum())
        return dict(loss=self.error(pred, targets.float()).mean())

    def predict(self, features: Tensor) -> Tensor:
        """Return predicted values (M, target_dims), float32, of features (M, C)."""
        return self.proj(features).float()

    def samples(self, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return ``pred`` and ``target`` (M, target_dims), and ``loss``, the error (M,)."""
        pred = self.predict(features)
        return dict(pred=pred, target=targets, loss=self.error(pred, targets))

    def check(self, target: Target, dims: int | None) -> None:
        """Raise a UserError unless the targets are continuous and have these sizes."""
        super().check(target, dims)
        if target.vocab_size is not None:
            raise UserError(
                f'FeatureRegressionHead predicts values, but model.tokenizer has tokens '
                f'(vocab_size={target.vocab_size}); set model.head.type to VisualTokenHead, or '
                'model.tokenizer.type to FeatureTarget'
            )
        if target.target_dims not in (None, self.target_dims):
            raise UserError(
                f'model.head.target_dims={self.target_dims}, but model.tokenizer gives '
                f'{target.target_dims} values for each patch; set model.head.target_dims='
                f'{target.target_dims}, or leave it out'
            )
        check_dims('head', self.dims, dims)
