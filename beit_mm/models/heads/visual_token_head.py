import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from beit_mm.contracts import MIMHead, Target, UserError, check_integers
from beit_mm.contracts.derived import check_dims
from beit_mm.models.layers.init import init_linear_and_norm
from beit_mm.registry import MODELS


@MODELS.register_module()
class VisualTokenHead(MIMHead):
    """A softmax over the vocabulary for each masked patch (BEiT, section 2.3).

    Args:
        vocab_size: Of the tokenizer whose ids are predicted; derived if left out.
        dims: Channels of the features; derived if left out.
        init_std: Standard deviation of the weights before truncation, see ``truncated_normal_``.
        max_logits: Most logits that the loss keeps at a time. It takes the patches in parts, and
            computes the logits of each part once more in the backward pass, so that memory does not
            grow with batch and vocabulary. None takes all patches together.
    """

    derived = ('vocab_size', 'dims')

    def __init__(
        self,
        vocab_size: int,
        dims: int,
        init_std: float = 0.02,
        max_logits: int | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if max_logits is not None:
            check_integers('VisualTokenHead', 1, max_logits=max_logits)
        check_integers('VisualTokenHead', 1, vocab_size=vocab_size, dims=dims)
        self.max_logits = max_logits
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
        number = len(targets)
        if number == 0:  # nothing is masked: zero, but connected to the graph
            logits = self.predict(features)
            return dict(loss=logits.sum(), acc=logits.new_zeros(()))
        rows = number if self.max_logits is None else max(self.max_logits // self.vocab_size, 1)
        if rows >= number:
            loss, right = self._compare(features, targets, 'mean')
            return dict(loss=loss, acc=100 * right / number)
        parts = zip(features.split(rows), targets.split(rows), strict=True)
        sums = [checkpoint(self._compare, *part, 'sum', use_reentrant=False) for part in parts]
        losses, rights = zip(*sums, strict=True)
        return dict(loss=sum(losses) / number, acc=100 * sum(rights) / number)

    def _compare(self, features: Tensor, targets: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy, and how many patches are predicted right."""
        logits = self.predict(features)
        right = (logits.argmax(-1) == targets).sum()
        return F.cross_entropy(logits, targets, reduction=reduction), right

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
