from abc import abstractmethod

from torch import Tensor

from beit_mm.contracts.backbone import Backbone
from beit_mm.contracts.starting_weights import StartingWeights


class MIMNeck(StartingWeights):
    """Base of what picks the features of the predicted patches from the backbone's outputs.

    Attributes:
        derived: Arguments of the constructor that the model fills in where the config leaves them
            out: ``dims``, ``num_heads``, ``depth`` of the backbone.
        own_heads: Terms that have a head of their own; the model builds it by ``model.head``.
        out_dims: Channels of the features; None has those of the backbone.
        takes_bias: ``forward`` takes the backbone's shared attention bias as a third argument.
    """

    derived: tuple[str, ...] = ()
    own_heads: tuple[str, ...] = ()
    out_dims: int | None = None
    takes_bias: bool = False

    @abstractmethod
    def forward(self, tokens: tuple[Tensor, ...], where: Tensor) -> Tensor | dict[str, Tensor]:
        """Select features.

        Args:
            tokens: Outputs of the backbone.
            where: (B, h, w) bool, True = predicted: the mask, or all patches where the head
                ``predicts_all``.

        Returns:
            (M, C) in the order of ``where``, or a dict of several: each is a term of the loss, and
            ``main`` is what is predicted with.
        """

    def check(self, backbone: Backbone) -> None:
        """Raise a UserError unless this neck can work behind ``backbone``."""
