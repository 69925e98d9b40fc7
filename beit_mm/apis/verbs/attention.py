import numpy as np
import torch.nn as nn

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import AttentionMaps
from beit_mm.apis.verbs.verb import (
    ENCODERS,
    Rows,
    Verb,
    backbone_of,
    check_layer,
    is_integer,
    rows_of,
)
from beit_mm.contracts import Backbone, UserError

Query = tuple[int, int] | None


def check(module: nn.Module, query: Query = None, layer: int = -1) -> None:
    backbone = backbone_of(module)
    if not isinstance(backbone, Backbone) or not backbone.has_attention:
        raise UserError(f'{type(backbone).__name__} does not give its attention')
    check_layer(backbone, layer)
    if query is None:
        return
    if np.shape(query) != (2,) or not all(is_integer(n) and n >= 0 for n in query):
        raise UserError(f'query={query!r}: expected (row, column) of a patch, counted from 0')


def rows(module: nn.Module, batch: Batch, query: Query = None, layer: int = -1) -> Rows:
    """Return ``maps`` (heads, h, w) and ``to_class`` (heads,)."""
    backbone = backbone_of(module)
    grid = tuple(side // backbone.patch_size for side in batch.inputs.shape[-2:])
    if query is not None and (query[0] >= grid[0] or query[1] >= grid[1]):
        raise UserError(f'query={tuple(query)}, but there are {grid} patches (rows, columns)')
    token = 0 if query is None else 1 + query[0] * grid[1] + query[1]
    weights = backbone.attention(batch.inputs, layer)[:, :, token].float()  # (B, heads, 1+N)
    return rows_of(maps=weights[..., 1:].unflatten(-1, grid), to_class=weights[..., 0])


ATTENTION = Verb(ENCODERS, AttentionMaps, rows, check)
