from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from beit_mm.contracts import UserError
from beit_mm.contracts.positions import TABLE, Grid, square_grid, table_length
from beit_mm.models.backbones.beit_encoder import BEiTEncoder

POSITIONS = (TABLE, 'pos_embed')


@dataclass
class Sizes:
    """Sizes of a BEiT, read from the shapes of its tensors in our layout."""

    dims: int
    layers: int
    heads: int
    hidden: int
    patch: int
    channels: int
    grid: tuple[int, int]
    shared: bool
    tables: bool
    abs_pos: bool
    layer_scale: bool
    qkv_bias: bool
    final_norm: bool
    classes: int
    vocab: int

    @classmethod
    def read(cls, state: Mapping[str, Tensor], heads: int | None, grid: Grid | None) -> 'Sizes':
        """Read the sizes of a state dict of our layout.

        Args:
            heads: Used where no table of positions tells them.
            grid: Patches (h, w); None assumes square images.

        Raises:
            UserError: The MLPs are of another kind, or positions do not fit the grid.
        """
        hidden = state.get('backbone.blocks.0.mlp.fc1.weight')
        if hidden is None:
            found = sorted(n for n in state if n.startswith('backbone.blocks.0.mlp.'))
            raise UserError(
                f'The MLP of block 0 has {found or "no tensors"}, where fc1 and fc2 were expected; '
                'other MLPs, such as SwiGLU, are not those of BEiT'
            )
        shared = state.get(f'backbone.rel_pos_bias.{TABLE}')
        table = shared if shared is not None else state.get(f'backbone.blocks.0.attn.{TABLE}')
        dims, channels, patch, _ = state['backbone.patch_embed.proj.weight'].shape
        positions = state.get('backbone.pos_embed')
        numbers = {int(n.split('.')[2]) for n in state if n.startswith('backbone.blocks.')}
        grid = find_grid(table, positions, patch) if grid is None else grid
        check_grid(table, positions, grid)
        return cls(
            dims=dims,
            layers=1 + max(numbers),
            heads=(heads if table is None else table.shape[1]) or max(dims // 64, 1),
            hidden=len(hidden),
            patch=patch,
            channels=channels,
            grid=grid,
            shared=shared is not None,
            tables=f'backbone.blocks.0.attn.{TABLE}' in state,
            abs_pos=positions is not None,
            layer_scale='backbone.blocks.0.gamma_1' in state,
            qkv_bias='backbone.blocks.0.attn.q_bias' in state,
            final_norm='backbone.norm.weight' in state,
            classes=len(state.get('head.fc.bias', ())),
            vocab=len(state.get('head.proj.bias', ())),
        )

    @property
    def image(self) -> tuple[int, int]:
        return self.grid[0] * self.patch, self.grid[1] * self.patch

    @property
    def mlp_ratio(self) -> float:
        ratio = self.hidden / self.dims  # int(dims * ratio) has to be hidden, never one less
        return ratio if int(self.dims * ratio) == self.hidden else (self.hidden + 0.5) / self.dims

    @property
    def arch(self) -> dict[str, int]:
        return dict(embed_dims=self.dims, num_layers=self.layers, num_heads=self.heads)

    @property
    def images(self) -> dict[str, Any]:
        return dict(img_size=self.image, patch_size=self.patch, in_channels=self.channels)

    @property
    def backbone(self) -> dict[str, Any]:
        """Return the arguments of our encoder."""
        return dict(
            arch=self.arch | (dict(mlp_ratio=self.mlp_ratio) if self.mlp_ratio != 4 else {}),
            **self.images,
            abs_pos=self.abs_pos,
            rel_pos='shared' if self.shared else 'per_layer' if self.tables else None,
            layer_scale_init=0.1 if self.layer_scale else None,
            qkv_bias=self.qkv_bias,
            final_norm=self.final_norm,
        )


def find_grid(table: Tensor | None, positions: Tensor | None, patch: int) -> Grid | None:
    """Return the patches (h, w) of square images that have these positions, None if there are none.

    Without positions it is the grid of 224 pixels.
    """
    if table is not None:
        return square_grid(len(table))
    if positions is not None:
        return (round((positions.shape[1] - 1) ** 0.5),) * 2
    return (224 // patch,) * 2


def check_grid(table: Tensor | None, positions: Tensor | None, grid: Grid | None) -> None:
    """Raise a UserError unless the positions are those of ``grid``."""
    fits = grid is not None
    fits = fits and (table is None or len(table) == table_length(grid))
    fits = fits and (positions is None or positions.shape[1] == 1 + grid[0] * grid[1])
    if fits:
        return
    found = [] if table is None else [f'a table of {len(table)} relative positions']
    found += [] if positions is None else [f'{positions.shape[1] - 1} absolute positions']
    raise UserError(
        f'The checkpoint has {" and ".join(found)}, which does not fit '
        f'{grid or "a square image"}{" patches" * (grid is not None)}; say the size of the images '
        'it was trained with: image_size in a config.json, --source-img-size H W of beit-mm convert'
    )


def build_encoder(sizes: Sizes) -> BEiTEncoder:
    """Build our encoder for tensors of these sizes."""
    return BEiTEncoder(**sizes.backbone).eval()
