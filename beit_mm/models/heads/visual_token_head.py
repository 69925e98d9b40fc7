import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.contracts import MIMHead, Target, UserError
from beit_mm.contracts.derived import check_dims
from beit_mm.models.layers.init import init_linear_and_norm
from beit_mm.registry import MODELS


@MODELS.register_module()
class VisualTokenHead(MIMHead):
    """A softmax over the vocabulary for each masked patch (BEiT, section 2.3).

    Args:
        vocab_size: Of the tokenizer whose ids are predicted; derived if left out.
        dims: Channels of the features; derived if left out.
        init_std: Standard deviation of the weights before truncation, see truncated_normal_.
    """

    derived = ('vocab_size', 'dims')

    def __init__(
        self, vocab_size: int, dims: int, init_std: float = 0.02, init_cfg: dict | None = None
    ):
        super().__init__(init_cfg)
        self.vocab_size = vocab_size
        self.dims = dims
        self.proj = nn.Linear(dims, vocab_size)
        init_linear_and_norm(self.proj, init_std)

    def loss(self, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Compute the cross-entropy over the patches of this process.

        Distributed training averages the processes. That is the mean over all patches where each
        process has as many, as with a fixed number of masked patches per image.

        Args:
            features: (M, C)
            targets: Token ids, (M,).

        Returns:
            ``loss``: mean cross-entropy in nats; ``acc``: accuracy in percent.
        """
        logits = self.predict(features)
        if len(targets) == 0:  # nothing is masked: zero, but connected to the graph
            return dict(loss=logits.sum(), acc=logits.new_zeros(()))
        acc = (logits.argmax(-1) == targets).float().mean() * 100
        return dict(loss=F.cross_entropy(logits, targets), acc=acc)

    def predict(self, features: Tensor) -> Tensor:
        """Return logits (M, V), float32, of features (M, C)."""
        return self.proj(features).float()

    def check(self, target: Target, dims: int | None) -> None:
        """Raise a UserError unless vocabulary and channels are those of the other parts."""
        super().check(target, dims)
        if self.vocab_size != target.vocab_size:
            raise UserError(
                f'model.head.vocab_size={self.vocab_size}, but model.tokenizer.vocab_size='
                f'{target.vocab_size}; the head predicts ids of this tokenizer, set them equal, or '
                "leave the head's out"
            )
        check_dims('head', self.dims, dims)
