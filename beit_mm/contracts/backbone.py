from abc import abstractmethod

from mmengine.model import BaseModule
from torch import Tensor


class Backbone(BaseModule):
    """Base of the encoders that a masked image model pre-trains.

    Attributes:
        embed_dims: Channels of an output.
        num_layers: Number of blocks; None where the encoder has none to count.
        num_heads: Attention heads; None for an encoder without attention.
        patch_size: Pixels per patch and side.
        in_channels: Channels of the images.
        out_indices: Blocks whose outputs are returned, counted from 0.
        out_type: ``tokens`` for (B, 1+N, C) with the class token first, ``featmap`` for
            (B, C, h, w).
        rel_pos: Relative position bias of the attention: ``shared`` by all blocks, ``per_layer`` or
            None. One that is shared is returned beside the outputs by
            ``forward(..., return_bias=True)``.
        grid: Patches (h, w) that its positions are made for; None where it has no such positions.
        pretrained_grid: Patches (h, w) of the checkpoint, where the config says so.
        rel_pos_resize: How tables of relative positions are resized, see ``resize_table``.
        adapt_channels: How a checkpoint for images with other channels is loaded; None refuses it.
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

    @abstractmethod
    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Encode images of any size that ``patch_size`` divides.

        Args:
            x: (B, C, H, W), normalized.
            mask: (B, h, w) bool, True = masked.

        Returns:
            One output for each of ``out_indices``.
        """

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning rates, and the number of depths.

        Depth 0 is the embedding, k + 1 block k, and the last one everything after or beside the
        blocks. Here every parameter has the last depth, so that a layer decay changes nothing.
        """
        return 0, 1
