from abc import abstractmethod
from collections.abc import Iterator, Sequence
from numbers import Integral

from torch import Tensor

from beit_mm.contracts.errors import UserError
from beit_mm.contracts.starting_weights import StartingWeights


class Backbone(StartingWeights):
    """Base of the encoders that a masked image model pre-trains.

    Attributes:
        embed_dims: Channels of an output.
        num_layers: Number of blocks; None where the encoder has none to count.
        num_heads: Attention heads; None for an encoder without attention.
        patch_size: Pixels per patch and side.
        in_channels: Channels of the images.
        out_indices: Blocks whose outputs are returned, counted from 0.
        out_type: ``tokens`` for (B, 1+N, C) with the class token first, or (B, N, C) without one;
            ``featmap`` for (B, C, h, w).
        rel_pos: Relative position bias of the attention: ``shared`` by all blocks, ``per_layer`` or
            None. One that is shared is returned beside the outputs by
            ``forward(..., return_bias=True)``.
        grid: Patches (h, w) that its positions are made for; None where it has no such positions.
        pretrained_grid: Patches (h, w) of the checkpoint, where the config says so.
        rel_pos_resize: How tables of relative positions are resized, see ``resize_table``.
        adapt_channels: How a checkpoint for images with other channels is loaded; None refuses it.
        has_layers: :meth:`layer_tokens` and ``num_layers`` are there.
        has_attention: :meth:`attention` and ``num_layers`` are there.
    """

    embed_dims: int
    patch_size: int
    num_layers: int | None = None
    num_heads: int | None = None
    in_channels: int = 3
    out_indices: tuple[int, ...] | list[int] = (-1,)
    out_type: str = 'tokens'
    rel_pos: str | None = None
    grid: tuple[int, int] | None = None
    pretrained_grid: tuple[int, int] | None = None
    rel_pos_resize: str = 'geometric'
    adapt_channels = None
    has_layers: bool = False
    has_attention: bool = False

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode images of any size that ``patch_size`` divides.

        Args:
            x: (B, C, H, W), normalized.
            mask: (B, h, w) bool, True = masked.

        Returns:
            One output for each of ``out_indices``.
        """

    def layer_tokens(self, x: Tensor, layer: int = -1) -> Tensor:
        """Return the output (B, 1+N, C) of one block for images, the class token first.

        It does not depend on ``out_indices`` and ``out_type``.

        Args:
            layer: Counted from 0, or from the end if negative.
        """
        raise UserError(
            f'{type(self).__name__} gives its last output alone; take layer=-1, or a backbone that '
            'has layer_tokens(), for example BEiTEncoder'
        )

    def layer_outputs(self, x: Tensor) -> Iterator[Tensor]:
        """Yield what :meth:`layer_tokens` returns for each block, the first one first."""
        for layer in range(self.count_layers()):
            yield self.layer_tokens(x, layer)

    def count_layers(self) -> int:
        """Return ``num_layers``, which layers and attention are asked for by number."""
        if self.num_layers is None:
            raise UserError(f'{type(self).__name__} has layers, but no num_layers; set it')
        return self.num_layers

    def attention(self, x: Tensor, layer: int = -1) -> Tensor:
        """Return the attention weights (B, heads, 1+N, 1+N) of one block; rows sum to 1."""
        raise UserError(
            f'{type(self).__name__} does not give its attention(); take a backbone that does, for '
            'example BEiTEncoder'
        )

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning rates, and the number of depths.

        Depth 0 is the embedding, k + 1 block k, and the last one everything after or beside the
        blocks. Here every parameter has the last depth, so that a layer decay changes nothing.
        """
        return 0, 1


def layer_indices(out_indices: int | Sequence[int], num_layers: int) -> list[int]:
    """Return the numbers of layers from 0, of one or several that are counted from either end.

    Raises:
        UserError: There is no such layer, or the order is not that of the layers.
    """
    given = [out_indices] if isinstance(out_indices, Integral) else list(out_indices)
    indices = [i + num_layers if i < 0 else i for i in given]
    if not indices or not all(0 <= i < num_layers for i in indices):
        raise UserError(
            f'backbone.out_indices={out_indices}: expected layers from '
            f'{-num_layers} to {num_layers - 1}'
        )
    if sorted(set(indices)) != indices:
        raise UserError(f'backbone.out_indices={out_indices}: expected increasing layers')
    return indices
