from abc import abstractmethod

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from beit_mm.contracts.errors import UserError
from beit_mm.contracts.target import Target


class MIMHead(BaseModule):
    """Base of what predicts the targets of masked patches.

    Attributes:
        derived: Arguments of the constructor that the model fills in where the config leaves them
            out: ``dims`` of the backbone, ``vocab_size`` and ``target_dims`` of the target.
        predicts_all: All patches are trained on, not the masked ones alone.
        needs: What the head is given beside the targets, as keyword arguments of :meth:`loss`:
            ``codebook`` (V, D), the target's ``code_vectors()``, and ``posterior`` (M, V).
    """

    derived: tuple[str, ...] = ()
    predicts_all: bool = False
    needs: tuple[str, ...] = ()

    @abstractmethod
    def loss(self, features: Tensor, targets: Tensor, **extras: Tensor) -> dict[str, Tensor]:
        """Compare predictions with targets.

        Args:
            features: (M, C)
            targets: (M,) token ids, or (M, D) values of a continuous target.

        Returns:
            Losses, whose names contain ``loss``, and other values for the log. A head of tokens
            whose loss is not the plain cross-entropy adds that as ``cross_entropy``.
        """

    @abstractmethod
    def predict(self, features: Tensor) -> Tensor:
        """Return logits (M, V), or values (M, D) of a continuous target."""

    def samples(self, features: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return what metrics read, each with M rows.

        Of token ids: ``pred_ids``, ``target_ids`` and the cross-entropy ``loss``. Of continuous
        targets: ``pred``, ``target`` and the squared error ``loss``.
        """
        pred = self.predict(features)
        if targets.is_floating_point():
            return dict(pred=pred, target=targets, loss=(pred - targets).square().mean(-1))
        losses = F.cross_entropy(pred, targets, reduction='none')
        return dict(pred_ids=pred.argmax(-1), target_ids=targets, loss=losses)

    def check(self, target: Target, dims: int | None) -> None:
        """Raise a UserError unless this head can predict ``target`` from ``dims`` channels."""
        has = dict(codebook=target.has_codebook, posterior=target.has_posterior)
        for need in self.needs:
            if not has[need]:
                name = type(self).__name__
                raise UserError(
                    f'model.head.type={name} needs the {need} of the tokenizer, but '
                    f'{type(target).__name__} has none; choose a tokenizer that has one, for '
                    "example DVAETokenizer, or a head that needs none (SoftTokenHead: target='ids')"
                )
