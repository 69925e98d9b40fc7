import math
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.checkpoints.adapt_beit import adapt_beit
from beit_mm.contracts import Backbone, UserError, check_choice
from beit_mm.contracts.backbone import layer_indices
from beit_mm.contracts.positions import Grid, patch_grid, resize_pos_embed
from beit_mm.contracts.recorded import fix_size
from beit_mm.models.layers.init import (
    divide_by_depth,
    init_linear_and_norm,
    sincos_positions,
    truncated_normal_,
)
from beit_mm.models.layers.rel_pos_bias import RelativePositions, RelPosBias
from beit_mm.models.layers.transformer_block import TransformerBlock, TransformerBlocks
from beit_mm.registry import MODELS


@MODELS.register_module()
class BEiTEncoder(Backbone):
    """The vision Transformer of BEiT (arXiv 2106.08254), one class for all of its tasks.

    A masked patch is replaced by the mask embedding. Positions are a relative bias of the attention
    logits (the released models), absolute embeddings (the paper's section 2.2: ``abs_pos=True,
    rel_pos=None, layer_scale_init=None``), or both. The state dict has the layout of the original
    code for every task, so that the ``backbone`` of one model is loaded into another with
    ``prefix='backbone.'``; ``beit_mm/checkpoints/adapt_beit.py`` says what is adapted then.

    Args:
        arch: Name in ``arch_settings``, or a dict with embed_dims, num_layers, num_heads and,
            if it is not 4, mlp_ratio.
        img_size: Image size that positions are made for, (H, W) or one number. For inputs of any
            other size that ``patch_size`` divides, positions are interpolated.
        out_indices: Layers whose outputs are returned, negative ones counted from the end.
        out_type: ``tokens`` gives (B, 1+N, C) with the class token first, ``featmap`` (B, C, h, w).
        abs_pos: Learned absolute embeddings, drawn like the weights. ``sincos`` starts with sines
            and cosines, by which small encoders learn faster (docs/results.md).
        rel_pos: ``shared`` (one table, pre-training), ``per_layer`` (fine-tuning) or None.
        rel_pos_resize: ``geometric`` (the original's method) or ``bicubic``.
        pretrained_img_size: Image size of the checkpoint, needed only if that was not square.
        adapt_channels: How to load a checkpoint for images with other channels: ``mean``, ``tile``,
            or for each channel the number of one of the checkpoint's, 'mean' or None for zeros
            (docs/any_channels.md). Without it such a checkpoint is refused.
        layer_scale_init: 0.1 for base, 1e-5 for large; None or 0 for none.
        drop_path_rate: Of the last block; it rises linearly from 0.
        attn_drop_rate, drop_rate, mlp_drop_rate: Dropout of the attention weights, after the
            attention's projection, and after the MLP.
        final_norm: LayerNorm on the last output. Off where the neck has its own.
        norm_eps: Of all LayerNorms. 1e-6 as in the original; another value only for a checkpoint
            that was trained with one (docs/migration.md), and then for the neck too.
        init_std: Standard deviation of the weights before truncation, see ``truncated_normal_``.
            0.02 is made for ``base``; narrow encoders learn faster from more.
        frozen: No gradients and eval mode for the whole encoder, for probes of its features.
        with_cp: Recompute the blocks in the backward pass to save memory.
        compile_blocks: Run the blocks through ``torch.compile`` (docs/performance.md).
        position_cache_mb: Most megabytes of attention biases that are kept outside of training.

    Raises:
        UserError: An unknown option, an image that the patch size doesn't divide, a mask of
            another grid, or a table in a checkpoint whose grid isn't known.
    """

    has_layers = has_attention = True
    arch_settings = {
        'micro': dict(embed_dims=128, num_layers=4, num_heads=4),  # for CPUs and tests
        'tiny': dict(embed_dims=192, num_layers=12, num_heads=3),
        'small': dict(embed_dims=384, num_layers=12, num_heads=6),
        'base': dict(embed_dims=768, num_layers=12, num_heads=12),
        'large': dict(embed_dims=1024, num_layers=24, num_heads=16),
    }

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'tokens',
        abs_pos: bool | str = False,
        rel_pos: str | None = 'shared',
        rel_pos_resize: str = 'geometric',
        pretrained_img_size: Sequence[int] | None = None,
        adapt_channels: str | Sequence[int | str | None] | None = None,
        layer_scale_init: float | None = 0.1,
        drop_path_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_rate: float = 0.0,
        mlp_drop_rate: float = 0.0,
        qkv_bias: bool = True,
        final_norm: bool = False,
        norm_eps: float = 1e-6,
        init_std: float = 0.02,
        frozen: bool = False,
        with_cp: bool = False,
        compile_blocks: bool = False,
        position_cache_mb: float = 1024,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        arch = self._settings(arch)
        check_choice('backbone', ('tokens', 'featmap'), out_type=out_type)
        check_choice('backbone', (True, False, None, 'sincos'), abs_pos=abs_pos)
        check_choice('backbone', ('shared', 'per_layer', None), rel_pos=rel_pos)
        check_choice('backbone', ('geometric', 'bicubic'), rel_pos_resize=rel_pos_resize)
        self.embed_dims = dims = arch['embed_dims']
        self.num_layers = arch['num_layers']
        self.num_heads = arch['num_heads']
        self.in_channels = in_channels
        self.adapt_channels = adapt_channels
        self.patch_size = patch_size
        self.grid = patch_grid(img_size, patch_size, 'img_size')
        self.img_size = self.grid[0] * patch_size, self.grid[1] * patch_size
        if pretrained_img_size is not None:
            self.pretrained_grid = patch_grid(
                pretrained_img_size, patch_size, 'pretrained_img_size'
            )
        self._reads_pretrained = False  # init_cfg, not a resumed run of this model's own
        self.out_indices = layer_indices(out_indices, self.num_layers)
        self.out_type = out_type
        self.rel_pos = rel_pos
        self.rel_pos_resize = rel_pos_resize
        self.with_cp = with_cp

        # A module of its own, so that the name is patch_embed.proj as in the original.
        self.patch_embed = nn.ModuleDict(
            dict(proj=nn.Conv2d(in_channels, dims, patch_size, stride=patch_size))
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.abs_pos, self.init_std, self.pos_embed = abs_pos, init_std, None
        if abs_pos:
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + math.prod(self.grid), dims))
        self.positions = RelativePositions(self.grid, rel_pos_resize, position_cache_mb)
        self.rel_pos_bias = None
        if rel_pos == 'shared':
            self.rel_pos_bias = RelPosBias(self.positions, self.num_heads)
        self.blocks = TransformerBlocks(
            TransformerBlock(
                dims,
                self.num_heads,
                mlp_ratio=arch.get('mlp_ratio', 4.0),
                qkv_bias=qkv_bias,
                layer_scale_init=layer_scale_init,
                attn_drop=attn_drop_rate,
                proj_drop=drop_rate,
                mlp_drop=mlp_drop_rate,
                drop_path=drop_path_rate * layer / max(self.num_layers - 1, 1),
                norm_eps=norm_eps,
                positions=self.positions if rel_pos == 'per_layer' else None,
            )
            for layer in range(self.num_layers)
        )
        for block in self.blocks:
            block.is_compiled = compile_blocks
        self.norm = nn.LayerNorm(dims, eps=norm_eps) if final_norm else None
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self._own_init()

    def train(self, mode: bool = True) -> 'BEiTEncoder':
        return super().train(mode and not self.frozen)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, return_bias: bool = False
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], Tensor | None]:
        """Encode images.

        Args:
            x: (B, C, H, W), normalized.
            mask: (B, h, w) bool, True = masked.
            return_bias: Return a pair, for what continues the encoder.

        Returns:
            One output for each of ``out_indices``; in a pair with the shared bias
            (1, heads, 1+N, 1+N) of the attention logits, None if there is none.
        """
        x, bias, grid = self._start(x, mask)  # (B, 1+N, C)
        recompute = self.with_cp and self.training
        outputs = self.blocks(x, bias, grid, self.out_indices, recompute)
        if self.norm is not None and self.num_layers - 1 in self.out_indices:
            outputs[-1] = self.norm(outputs[-1])
        if self.out_type == 'featmap':
            # No unflatten: ONNX's older exporter takes the batch behind it for that of the example.
            outputs = [
                t[:, 1:].transpose(1, 2).reshape(-1, self.embed_dims, *grid).contiguous()
                for t in outputs
            ]
        return (tuple(outputs), bias) if return_bias else tuple(outputs)

    def layer_tokens(self, x: Tensor, layer: int = -1) -> Tensor:
        (layer,) = layer_indices(layer, self.num_layers)
        return next(islice(self.layer_outputs(x), layer, None))

    def layer_outputs(self, x: Tensor) -> Iterator[Tensor]:
        x, bias, grid = self._start(x)
        for layer, block in enumerate(self.blocks):
            x = block(x, bias, grid)
            last = layer == self.num_layers - 1
            yield self.norm(x) if last and self.norm is not None else x

    def attention(self, x: Tensor, layer: int = -1) -> Tensor:
        (layer,) = layer_indices(layer, self.num_layers)
        x, bias, grid = self._start(x)
        for block in self.blocks[:layer]:
            x = block(x, bias, grid)
        block = self.blocks[layer]
        return block.attn.weights(block.norm1(x), bias, grid)

    def _start(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None, Grid]:
        """Return the tokens before the first block, the shared bias and the grid."""
        size, grid = x.shape[-2:], self.grid
        if torch.compiler.is_exporting() or torch.jit.is_tracing():
            x, size = fix_size(x)
        if size != self.img_size:
            grid = patch_grid(size, self.patch_size, 'the input')
        bias = None if self.rel_pos_bias is None else self.rel_pos_bias(grid)
        return self._embed(x, mask, grid), bias, grid

    def _embed(self, x: Tensor, mask: Tensor | None, grid: Grid) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise UserError(
                f'backbone.in_channels={self.in_channels}, but the input has {x.shape[1]} '
                f'channels; set in_channels={x.shape[1]} or change the loading of the images'
            )
        x = self.patch_embed['proj'](x).flatten(2).transpose(1, 2)  # (B, N, C)
        cls_token = self.cls_token
        if mask is None and self.mask_token is not None:  # VQ-KD's encoder has none
            # A gradient of zero: DistributedDataParallel stops at a parameter that has none.
            cls_token = cls_token + 0 * self.mask_token
        if mask is not None:
            if tuple(mask.shape[1:]) != grid:
                raise UserError(
                    f'The mask is made for {tuple(mask.shape[1:])} patches, but the input has '
                    f'{grid} of patch_size={self.patch_size}; set grid={grid} in the '
                    "pipeline's mask transform, or change the input size"
                )
            x = torch.where(mask.flatten(1)[..., None], self.mask_token.to(x.dtype), x)
        x = torch.cat([cls_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        if self.pos_embed is None:
            return x
        return x + resize_pos_embed(self.pos_embed, self.grid, grid)

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """See :class:`Backbone`; L blocks have L + 2 depths."""
        last = self.num_layers + 1
        if not name.startswith(prefix):
            return last, last + 1
        first, *rest = name[len(prefix) :].split('.')
        if first in ('cls_token', 'mask_token', 'pos_embed', 'patch_embed'):
            return 0, last + 1
        if first == 'blocks':
            return int(rest[0]) + 1, last + 1
        return last, last + 1

    def init_weights(self) -> None:
        """Draw BEiT's own weights, then load those of ``init_cfg`` (``Pretrained``)."""
        if not self.is_init:
            self._own_init()
        self._reads_pretrained = True
        super().init_weights()
        self._reads_pretrained = False

    def _own_init(self) -> None:
        self.apply(lambda module: init_linear_and_norm(module, self.init_std))
        for token in (self.cls_token, self.mask_token, self.pos_embed):
            if token is not None:
                truncated_normal_(token, self.init_std)
        if self.abs_pos == 'sincos':
            self.pos_embed.data[0, 1:] = sincos_positions(self.grid, self.embed_dims)
        divide_by_depth(self.blocks)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        adapt_beit(self, state_dict, prefix, is_pretrained=self._reads_pretrained)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _settings(self, arch: str | dict) -> dict:
        if isinstance(arch, str):
            check_choice('backbone', self.arch_settings, arch=arch)
            return self.arch_settings[arch]
        unknown = set(arch) - {'embed_dims', 'num_layers', 'num_heads', 'mlp_ratio'}
        missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
        if unknown or missing:
            raise UserError(
                f'backbone.arch={dict(arch)}: missing {sorted(missing)}, unknown '
                f'{sorted(unknown)}; it takes embed_dims, num_layers, num_heads and mlp_ratio'
            )
        if arch['embed_dims'] % arch['num_heads']:
            raise UserError(
                f'backbone.arch: embed_dims={arch["embed_dims"]} is not a multiple of '
                f'num_heads={arch["num_heads"]}'
            )
        return arch
