import logging
import re
from collections.abc import Callable, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from beit_mm.contracts import Backbone
from beit_mm.contracts.load_report import check_load
from beit_mm.models.layers.adapt_channels import adapt_patch_weight
from beit_mm.models.layers.init import init_linear_and_norm, truncated_normal_
from beit_mm.models.layers.position_cache import Make, PositionCache
from beit_mm.models.layers.rel_pos_bias import (
    Grid,
    RelPosBias,
    gather_bias,
    resize_table,
    square_grid,
    table_length,
)
from beit_mm.models.layers.transformer_block import TransformerBlock
from beit_mm.registry import MODELS

TABLE = 'relative_position_bias_table'
# What a checkpoint of another task may lack.
OPTIONAL = ('mask_token', 'norm.')
# What it may not have more of, since the features would be others without it.
NEEDED = (TABLE, 'pos_embed', 'gamma_', 'q_bias', 'v_bias')
# Names of mmpretrain and mmseg, which stand beside ours in a checkpoint of theirs.
THEIRS = re.compile(r'(layers\.\d+|patch_embed\.projection|ln[12])\.')
Kept = Callable[[tuple, Make], Tensor]


@MODELS.register_module()
class BEiTEncoder(Backbone):
    """The vision Transformer of BEiT (arXiv 2106.08254), one class for all of its tasks.

    Patches, a class token, and where ``mask`` is True the mask embedding instead of the patch;
    positions as a relative bias of the attention logits (the released models), as absolute
    embeddings (the paper's section 2.2: ``abs_pos=True, rel_pos=None, layer_scale_init=None``), or
    both. The state dict has the layout of the original code for every task, so that what was
    trained as ``backbone`` of one model is loaded into another with ``prefix='backbone.'``. A
    checkpoint of another image size is resized as it is loaded, a shared table is copied to every
    layer where ``rel_pos='per_layer'``, and each adaptation is written to the log.

    Args:
        arch: Name in ``arch_settings``, or a dict with embed_dims, num_layers, num_heads and,
            if it is not 4, mlp_ratio.
        img_size: (H, W) or one number that positions are made for. Inputs of any other size that
            ``patch_size`` divides are accepted; their positions are interpolated.
        out_indices: Layers whose outputs are returned, negative ones counted from the end.
        out_type: ``tokens`` gives (B, 1+N, C) with the class token first, ``featmap`` (B, C, h, w).
        rel_pos: ``shared`` (one table, pre-training), ``per_layer`` (fine-tuning) or None.
        rel_pos_resize: ``geometric`` (the original's method) or ``bicubic``.
        pretrained_img_size: Image size of the checkpoint, needed only if that was not square.
        adapt_channels: How to load a checkpoint for images with other channels: ``mean``, ``tile``,
            or for each channel the number of one of the checkpoint's, 'mean' or None for zeros
            (docs/any_channels.md). Without it such a checkpoint is refused.
        layer_scale_init: 0.1 for base, 1e-5 for large; None or 0 for none.
        drop_path_rate: Of the last block; it rises linearly from 0.
        attn_drop_rate: Dropout of the attention weights.
        drop_rate: Dropout after the attention's projection.
        mlp_drop_rate: Dropout after the MLP.
        final_norm: LayerNorm on the last output. Off where the neck has its own.
        norm_eps: Of all LayerNorms. 1e-6 as in the original; another value only for a checkpoint
            that was trained with one (docs/migration.md), and then for the neck too.
        frozen: No gradients and eval mode for the whole encoder, for probes of its features.
        with_cp: Recompute the blocks in the backward pass to save memory.
        position_cache_mb: Outside of training, attention biases and resized positions are kept for
            the next forward, up to this many megabytes; 0 keeps none.
        init_std: Weights are Normal(0, init_std) truncated at one sigma; attn.proj and mlp.fc2 of
            layer l, counted from 1, are then divided by sqrt(2 l).

    Raises:
        ValueError: An unknown option, an image that the patch size doesn't divide, a mask of
            another grid, or a table in a checkpoint whose grid isn't known.
    """

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
        abs_pos: bool = False,
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
        frozen: bool = False,
        with_cp: bool = False,
        position_cache_mb: float = 1024,
        init_std: float = 0.02,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        arch = self._settings(arch)
        _one_of('out_type', out_type, ('tokens', 'featmap'))
        _one_of('rel_pos', rel_pos, ('shared', 'per_layer', None))
        _one_of('rel_pos_resize', rel_pos_resize, ('geometric', 'bicubic'))
        self.embed_dims = arch['embed_dims']
        self.num_layers = arch['num_layers']
        self.num_heads = arch['num_heads']
        self.in_channels = in_channels
        self.adapt_channels = adapt_channels
        self.patch_size = patch_size
        self.grid = self._grid_of(*_pair(img_size), source='img_size')
        self.pretrained_grid = None
        self._reads_pretrained = False  # init_cfg, not a resumed run of this model's own
        if pretrained_img_size is not None:
            self.pretrained_grid = self._grid_of(
                *_pair(pretrained_img_size), source='pretrained_img_size'
            )
        self.out_indices = self._layer_indices(out_indices)
        self.out_type = out_type
        self.rel_pos = rel_pos
        self.with_cp = with_cp
        self.init_std = init_std

        dims, heads = arch['embed_dims'], arch['num_heads']
        # A module of its own, so that the name is patch_embed.proj as in the original.
        self.patch_embed = nn.ModuleDict(
            dict(proj=nn.Conv2d(in_channels, dims, patch_size, stride=patch_size))
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.pos_embed = None
        if abs_pos:
            num_patches = self.grid[0] * self.grid[1]
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + num_patches, dims))
        self.rel_pos_bias = None
        if rel_pos == 'shared':
            self.rel_pos_bias = RelPosBias(self.grid, heads)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                dims,
                heads,
                mlp_ratio=arch.get('mlp_ratio', 4.0),
                qkv_bias=qkv_bias,
                layer_scale_init=layer_scale_init,
                attn_drop=attn_drop_rate,
                proj_drop=drop_rate,
                mlp_drop=mlp_drop_rate,
                drop_path=drop_path_rate * layer / max(self.num_layers - 1, 1),
                norm_eps=norm_eps,
            )
            for layer in range(self.num_layers)
        )
        if rel_pos == 'per_layer':
            for block in self.blocks:
                table = nn.Parameter(torch.zeros(table_length(self.grid), heads))
                block.attn.register_parameter(TABLE, table)
        self.norm = nn.LayerNorm(dims, eps=norm_eps) if final_norm else None
        self.rel_pos_resize = rel_pos_resize
        self.position_cache = PositionCache(int(position_cache_mb * 2**20))
        self.frozen = frozen
        self.requires_grad_(not frozen)
        self._own_init()

    def train(self, mode: bool = True) -> 'BEiTEncoder':
        return super().train(mode and not self.frozen)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, return_bias: bool = False
    ) -> tuple[Tensor, ...] | tuple[tuple[Tensor, ...], Tensor | None]:
        """Images (B, C, H, W), mask (B, h, w) -> one output for each of ``out_indices``.

        With ``return_bias`` a pair: the outputs, and the shared bias (1, heads, 1+N, 1+N) of the
        attention logits, None if there is none, for what continues the encoder.
        """
        grid = self._grid_of(*x.shape[-2:], source='the input')
        kept = self.position_cache.open(self._tables())
        x = self._embed(x, mask, grid, kept)  # (B, 1+N, C)
        shared_bias = None
        if self.rel_pos == 'shared':
            shared_bias = self._bias('shared', self.rel_pos_bias, grid, kept)
        outputs = []
        for layer, block in enumerate(self.blocks):
            bias = shared_bias
            if self.rel_pos == 'per_layer':
                bias = self._bias(layer, block.attn, grid, kept)
            if self.with_cp and self.training:
                x = checkpoint(block, x, bias, use_reentrant=False)
            else:
                x = block(x, bias)
            if layer in self.out_indices:
                last = layer == self.num_layers - 1
                outputs.append(self.norm(x) if last and self.norm is not None else x)
        if self.out_type == 'featmap':
            outputs = [t[:, 1:].transpose(1, 2).unflatten(2, grid).contiguous() for t in outputs]
        return (tuple(outputs), shared_bias) if return_bias else tuple(outputs)

    def _tables(self) -> list[Tensor]:
        """All that says where patches are."""
        owners = []
        if self.rel_pos == 'shared':
            owners = [self.rel_pos_bias]
        elif self.rel_pos == 'per_layer':
            owners = [block.attn for block in self.blocks]
        tables = [owner.relative_position_bias_table for owner in owners]
        return tables if self.pos_embed is None else [*tables, self.pos_embed]

    def _bias(self, layer: int | str, owner: nn.Module, grid: Grid, kept: Kept) -> Tensor:
        """The table of a layer -> (1, heads, 1+N, 1+N)."""
        table = owner.relative_position_bias_table

        def resized() -> Tensor:
            return resize_table(table, self.grid, grid, self.rel_pos_resize)

        def bias() -> Tensor:
            return gather_bias(kept((grid, layer), resized), grid)

        return kept((grid, layer, 'bias'), bias)

    def _embed(self, x: Tensor, mask: Tensor | None, grid: Grid, kept: Kept) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f'backbone.in_channels={self.in_channels}, but the input has {x.shape[1]} '
                f'channels; set in_channels={x.shape[1]} or change the loading of the images'
            )
        x = self.patch_embed['proj'](x).flatten(2).transpose(1, 2)  # (B, N, C)
        if mask is not None:
            if tuple(mask.shape[1:]) != grid:
                raise ValueError(
                    f'The mask is made for {tuple(mask.shape[1:])} patches, but the input has '
                    f'{grid} of patch_size={self.patch_size}; set grid={grid} in the '
                    "pipeline's mask transform, or change the input size"
                )
            x = torch.where(mask.flatten(1)[..., None], self.mask_token.to(x.dtype), x)
        cls_token = self.cls_token
        if mask is None and self.mask_token is not None:
            # A gradient of zero: DistributedDataParallel stops at a parameter that has none.
            cls_token = cls_token + 0 * self.mask_token
        x = torch.cat([cls_token.to(x.dtype).expand(len(x), -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + kept(
                (grid, 'pos_embed'), lambda: resize_pos_embed(self.pos_embed, self.grid, grid)
            )
        return x

    def get_layer_depth(self, name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rates, and the number of depths (L + 2).

        0 is the embedding, k + 1 block k, and L + 1 everything after or beside the blocks.
        """
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
        """BEiT's own init, then ``init_cfg`` (``Pretrained``) if there is one."""
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
        with torch.no_grad():
            for layer, block in enumerate(self.blocks, start=1):
                block.attn.proj.weight /= (2 * layer) ** 0.5
                block.mlp.fc2.weight /= (2 * layer) ** 0.5

    # ---- what a checkpoint of another size or task needs ----

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args, **kwargs) -> None:
        """Adapts positions in ``state_dict`` before the children load from it."""
        for name in [n for n in state_dict if n.endswith('relative_position_index')]:
            if name.startswith(prefix):
                del state_dict[name]  # a constant that other implementations store
        self._expand_shared_table(state_dict, prefix)
        self._fill_positions(state_dict, prefix)
        for name, own in self._position_tables().items():
            stored = state_dict.get(prefix + name)
            if stored is not None and (stored.shape != own.shape or self._is_transposed(name)):
                state_dict[prefix + name] = self._resized(name, stored)
        for name in [n for n in state_dict if THEIRS.match(n[len(prefix) :])]:
            del state_dict[name]
        self._adapt_channels_of(state_dict, prefix)
        check_load(
            self,
            state_dict,
            prefix,
            optional=OPTIONAL,
            needed=NEEDED,
            may_be_absent=prefix != '' and not prefix.endswith('backbone.'),
            depth=2,
        )
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _adapt_channels_of(self, state_dict: dict, prefix: str) -> None:
        name = f'{prefix}patch_embed.proj.weight'
        stored = state_dict.get(name)
        if stored is None or stored.ndim != 4 or stored.shape[1] == self.in_channels:
            return
        old, new = stored.shape[1], self.in_channels
        if self.adapt_channels is None:
            raise ValueError(
                f'{name} in the checkpoint is for images with {old} channels, but '
                f"backbone.in_channels={new}; set backbone.adapt_channels to 'mean' or 'tile', or "
                'say for each channel which one of the checkpoint it takes, for example '
                f'{[*range(min(old, new)), *[None] * (new - old)]}'
            )
        state_dict[name] = adapt_patch_weight(stored, new, self.adapt_channels)
        print_log(
            f'{name}: {old} channels made {new} by adapt_channels={self.adapt_channels!r}',
            logger='current',
        )

    def _position_tables(self) -> dict[str, Tensor]:
        return {n: p for n, p in self.named_parameters() if n.endswith((TABLE, 'pos_embed'))}

    def _expand_shared_table(self, state_dict: dict, prefix: str) -> None:
        shared = f'{prefix}rel_pos_bias.{TABLE}'
        if self.rel_pos != 'per_layer' or shared not in state_dict:
            return
        table = state_dict.pop(shared)
        for layer in range(self.num_layers):
            state_dict.setdefault(f'{prefix}blocks.{layer}.attn.{TABLE}', table.clone())
        print_log(f'{shared}: copied to each of the {self.num_layers} layers', logger='current')

    def _fill_positions(self, state_dict: dict, prefix: str) -> None:
        """Zeros for positions that the checkpoint was trained without: the same function."""
        if f'{prefix}patch_embed.proj.weight' not in state_dict:
            return
        for kind in (TABLE, 'pos_embed'):
            own = {n: p for n, p in self._position_tables().items() if n.endswith(kind)}
            if not own or any(prefix + name in state_dict for name in own):
                continue
            state_dict.update({prefix + n: torch.zeros_like(p) for n, p in own.items()})
            print_log(
                f'{prefix}{next(iter(own))}: the checkpoint has no {kind}; it starts at 0',
                logger='current',
                level=logging.WARNING,
            )

    def _is_transposed(self, name: str) -> bool:
        """Whether ``init_cfg`` reads positions of another grid that are as many as this one's."""
        source = self.pretrained_grid
        if not self._reads_pretrained or source in (None, self.grid):
            return False
        if name.endswith(TABLE):
            return table_length(source) == table_length(self.grid)
        return source[0] * source[1] == self.grid[0] * self.grid[1]

    def resize_positions(self, state_dict: dict, prefix: str, img_size: Sequence[int]) -> None:
        """Positions in ``state_dict`` that were made for images of (H, W), for this model's grid.

        For a checkpoint that says its size; ``pretrained_img_size`` comes before it.
        """
        if self.pretrained_grid is not None:
            return
        source = self._grid_of(*_pair(img_size), source='the image size of the checkpoint')
        if source == self.grid:
            return
        self._expand_shared_table(state_dict, prefix)
        self.pretrained_grid = source
        try:
            for name in self._position_tables():
                if prefix + name in state_dict:
                    stored = state_dict[prefix + name]
                    state_dict[prefix + name] = self._resized(name, stored)
        finally:
            self.pretrained_grid = None

    def _resized(self, name: str, stored: Tensor) -> Tensor:
        is_table = name.endswith(TABLE)
        source, length = self.pretrained_grid, None
        if source is None:
            source = square_grid(stored.shape[0]) if is_table else _square(stored.shape[1] - 1)
        if source is not None:
            length = table_length(source) if is_table else 1 + source[0] * source[1]
        if length != stored.shape[0 if is_table else 1]:
            raise ValueError(
                f'{name} in the checkpoint has shape {tuple(stored.shape)}, which does not fit a '
                f'grid of {source or "square"} patches; set backbone.pretrained_img_size to the '
                '(H, W) that the checkpoint was trained with'
            )
        print_log(f'{name}: resized from {source} to {self.grid} patches', logger='current')
        if is_table:
            resized = resize_table(stored.float(), source, self.grid, self.rel_pos_resize)
        else:
            resized = resize_pos_embed(stored.float(), source, self.grid)
        return resized.to(stored.dtype)

    # ---- checks ----

    def _settings(self, arch: str | dict) -> dict:
        if isinstance(arch, str):
            _one_of('arch', arch, tuple(self.arch_settings))
            return self.arch_settings[arch]
        unknown = set(arch) - {'embed_dims', 'num_layers', 'num_heads', 'mlp_ratio'}
        missing = {'embed_dims', 'num_layers', 'num_heads'} - set(arch)
        if unknown or missing:
            raise ValueError(
                f'backbone.arch={dict(arch)}: missing {sorted(missing)}, unknown '
                f'{sorted(unknown)}; it takes embed_dims, num_layers, num_heads and mlp_ratio'
            )
        if arch['embed_dims'] % arch['num_heads']:
            raise ValueError(
                f'backbone.arch: embed_dims={arch["embed_dims"]} is not a multiple of '
                f'num_heads={arch["num_heads"]}'
            )
        return arch

    def _grid_of(self, height: int, width: int, source: str) -> Grid:
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f'{source} is {height} x {width} pixels (height x width), which '
                f'backbone.patch_size={self.patch_size} does not divide; resize, crop or pad to a '
                f'multiple of {self.patch_size}'
            )
        return height // self.patch_size, width // self.patch_size

    def _layer_indices(self, out_indices: int | Sequence[int]) -> list[int]:
        given = [out_indices] if isinstance(out_indices, int) else list(out_indices)
        indices = [i + self.num_layers if i < 0 else i for i in given]
        if not indices or not all(0 <= i < self.num_layers for i in indices):
            raise ValueError(
                f'backbone.out_indices={out_indices}: expected layers from '
                f'{-self.num_layers} to {self.num_layers - 1}'
            )
        if sorted(set(indices)) != indices:
            raise ValueError(f'backbone.out_indices={out_indices}: expected increasing layers')
        return indices


def resize_pos_embed(pos_embed: Tensor, source: Grid, target: Grid) -> Tensor:
    """(1, 1 + source, C) -> (1, 1 + target, C), bicubic; the class token's entry is kept."""
    if source == target:
        return pos_embed
    cls_entry, patches = pos_embed[:, :1], pos_embed[:, 1:]
    image = patches.transpose(1, 2).unflatten(2, source)
    image = F.interpolate(image, target, mode='bicubic', align_corners=False)
    return torch.cat([cls_entry, image.flatten(2).transpose(1, 2)], dim=1)


def _square(length: int) -> Grid | None:
    side = round(length**0.5)
    return (side, side) if side * side == length else None


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _one_of(name: str, value, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(f'backbone.{name}={value!r}: expected one of {choices}')
