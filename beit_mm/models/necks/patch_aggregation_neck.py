import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Backbone, MIMNeck, UserError
from beit_mm.contracts.derived import check_dims
from beit_mm.models.layers.init import divide_by_depth, init_linear_and_norm
from beit_mm.models.layers.transformer_block import TransformerBlock
from beit_mm.registry import MODELS


@MODELS.register_module()
class PatchAggregationNeck(MIMNeck):
    """Patch aggregation of BEiT v2 (arXiv 2208.06366, section 3.3), which trains the class token.

    The class token of the last layer is put before the patches of an earlier layer. A few more
    blocks with the encoder's relative position bias predict the masked patches from them. What the
    later layers know of the image can reach these blocks through the class token alone. The masked
    patches of the last layer and those of the extra blocks go through one norm and one head, or
    through one each.

    Fine-tuning takes the backbone and leaves the neck behind.

    Args:
        dims, num_heads: Of the encoder; derived if left out.
        num_layers: Extra blocks.
        early_layer: Layer of the encoder that the patches come from, counted from 1; 9 for base,
            21 for large. The encoder needs ``out_indices=(early_layer - 1, -1)``.
        depth: Layers of the encoder; derived if left out.
        mlp_ratio, layer_scale_init, norm_eps: As in the encoder.
        drop_path_rate: The encoder's. The extra blocks take the rates of the layers that follow
            ``early_layer``.
        init_std: See ``truncated_normal_``. The extra blocks are divided by depth as its layers
            ``early_layer + 1`` and on are.
        shared_head: One norm and head for both terms. Off as in the original's
            ``shared_lm_head=False``: then ``aggregation`` has a norm here, and a head in the model.
        original_init: Draw the linear layers of the extra blocks as the released code does, which
            leaves PyTorch's own init in them (uniform, biases too) and then divides by depth.
    """

    derived = ('dims', 'num_heads', 'depth')
    takes_bias = True

    def __init__(
        self,
        dims: int,
        num_heads: int,
        num_layers: int = 2,
        early_layer: int = 9,
        depth: int = 12,
        mlp_ratio: float = 4.0,
        layer_scale_init: float | None = 0.1,
        drop_path_rate: float = 0.0,
        init_std: float = 0.02,
        shared_head: bool = True,
        original_init: bool = False,
        norm_eps: float = 1e-6,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if not 1 <= early_layer < depth:
            raise UserError(
                f'neck.early_layer={early_layer}: expected a layer before the last one of '
                f'neck.depth={depth}, counted from 1'
            )
        self.dims = dims
        self.num_heads = num_heads
        self.early_layer = early_layer
        self.depth = depth
        self.init_std = init_std
        self.original_init = original_init
        last = max(depth, early_layer + num_layers) - 1
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dims,
                num_heads,
                mlp_ratio=mlp_ratio,
                layer_scale_init=layer_scale_init,
                drop_path=drop_path_rate * layer / last,
                norm_eps=norm_eps,
            )
            for layer in range(early_layer, early_layer + num_layers)
        )
        self.norm = nn.LayerNorm(dims, eps=norm_eps)
        self.aggregation_norm = None
        if not shared_head:
            self.aggregation_norm = nn.LayerNorm(dims, eps=norm_eps)
            self.own_heads = ('aggregation',)
        self._own_init()

    def forward(
        self, tokens: tuple[Tensor, ...], where: Tensor, bias: Tensor | None
    ) -> dict[str, Tensor]:
        """Select the features of the last layer and of the extra blocks.

        Args:
            tokens: Outputs (B, 1+N, C) of the early and of the last layer.
            where: (B, h, w) bool, True = predicted.
            bias: The shared attention bias, (1, heads, 1+N, 1+N).

        Returns:
            ``main`` and ``aggregation``, each (M, C) in the order of ``where``.
        """
        early, last = tokens
        aggregated = torch.cat([last[:, :1], early[:, 1:]], dim=1)
        for block in self.blocks:
            aggregated = block(aggregated, bias)
        where = where.flatten(1)
        norm = self.norm if self.aggregation_norm is None else self.aggregation_norm
        return dict(main=self.norm(last[:, 1:][where]), aggregation=norm(aggregated[:, 1:][where]))

    def check(self, backbone: Backbone) -> None:
        """Raise a UserError unless ``backbone`` gives the two layers and one bias for all."""
        if not isinstance(backbone, Backbone) or backbone.num_layers is None:
            raise UserError(
                f'PatchAggregationNeck continues a Transformer, found {type(backbone).__name__}; '
                "set model.backbone.type='BEiTEncoder', or another model.neck.type"
            )
        check_dims('neck', self.dims, backbone.embed_dims)
        if backbone.num_layers != self.depth:
            raise UserError(
                f'model.neck.depth={self.depth}, but the backbone has {backbone.num_layers} '
                f'layers; set model.neck.depth={backbone.num_layers} and early_layer to one of them'
            )
        layers = [self.early_layer - 1, self.depth - 1]
        if list(backbone.out_indices) != layers:
            raise UserError(
                f'model.backbone.out_indices={backbone.out_indices}, but the neck takes the '
                f'patches of layer {self.early_layer} and the last layer; set '
                f'model.backbone.out_indices={tuple(layers)}'
            )
        if backbone.out_type != 'tokens' or backbone.rel_pos == 'per_layer':
            raise UserError(
                f"PatchAggregationNeck takes a backbone with out_type='tokens' and "
                f"rel_pos='shared' or None, found {backbone.out_type!r} and {backbone.rel_pos!r}"
            )
        if backbone.rel_pos == 'shared' and backbone.num_heads != self.num_heads:
            raise UserError(
                f'model.neck.num_heads={self.num_heads}, but the bias of the backbone is for '
                f'{backbone.num_heads} heads; set model.neck.num_heads={backbone.num_heads}'
            )

    def init_weights(self) -> None:
        if not self.is_init:
            self._own_init()
        super().init_weights()

    def _own_init(self) -> None:
        self.apply(lambda module: init_linear_and_norm(module, self.init_std))
        for linear in self.blocks.modules() if self.original_init else ():
            if isinstance(linear, nn.Linear):
                linear.reset_parameters()
        divide_by_depth(self.blocks, first=self.early_layer + 1)
