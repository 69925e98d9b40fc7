from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts.positions import (
    Grid,
    Matrices,
    geometric_matrices,
    relative_position_index,
    resize_table,
    table_length,
)
from beit_mm.contracts.recorded import is_exported, is_recorded

MAX_GRIDS = 8


class RelativePositions:
    """Reads the tables of relative positions of one encoder, for images of any size.

    The encoder and all of its blocks share one. It keeps what follows from a grid alone and,
    where no gradient to a table is recorded, the biases (see :class:`PositionCache`). Nothing is
    kept while a model is compiled, exported, traced or captured as a CUDA graph. A copy of a model,
    or one that is read from a file, starts with nothing kept.

    Args:
        grid: Patches (h, w) that the tables are made for.
        resize: Method of :func:`resize_table` for other grids.
        cache_mb: Most megabytes of biases.
    """

    def __init__(self, grid: Grid, resize: str = 'geometric', cache_mb: float = 0):
        self.grid = grid
        self.resize = resize
        self.cache = PositionCache(cache_mb * 2**20)
        self._constants: dict[tuple, tuple[Tensor, Matrices | None]] = {}

    def __reduce__(self):
        return type(self), (self.grid, self.resize, self.cache.max_bytes / 2**20)

    def new_table(self, num_heads: int) -> nn.Parameter:
        """Return a table of zeros, (table_length(grid), num_heads)."""
        return nn.Parameter(torch.zeros(table_length(self.grid), num_heads))

    def bias_of(self, owner: nn.Module, grid: Grid) -> Tensor:
        """Return the attention bias (1, heads, 1 + N, 1 + N) of the table of ``owner``."""
        table = owner.relative_position_bias_table
        if torch.is_grad_enabled() and table.requires_grad or is_recorded(table):
            return self._read(table, grid)
        return self.cache.get(id(owner), table, grid, lambda: self._read(table, grid))

    def _read(self, table: Tensor, grid: Grid) -> Tensor:
        index, matrices = self._constants_of(grid, table)
        if grid != self.grid:
            table = resize_table(table, self.grid, grid, self.resize, matrices)
        return gather_bias(table, index)

    def _constants_of(self, grid: Grid, table: Tensor) -> tuple[Tensor, Matrices | None]:
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self._make_constants(grid, table)
        key = (grid, table.device, table.dtype)
        found = self._constants.get(key)
        if found is None:
            with torch.inference_mode(False):  # usable in a forward with gradients as well
                found = self._make_constants(grid, table)
            if not is_recorded(table) and not is_recorded(found[0]):
                if len(self._constants) == MAX_GRIDS:
                    self._constants.pop(next(iter(self._constants)))
                self._constants[key] = found
        return found

    def _make_constants(self, grid: Grid, table: Tensor) -> tuple[Tensor, Matrices | None]:
        index = relative_position_index(grid, table.device)
        if grid == self.grid or self.resize != 'geometric':
            return index, None
        wide = torch.promote_types(table.dtype, torch.float32)
        rows, columns = _constants(lambda: geometric_matrices(self.grid, grid))
        return index, (rows.to(table.device, wide), columns.to(table.device, wide))


def _constants(make: Callable[[], Matrices]) -> Matrices:
    """Return what ``make`` does, as constants of an export: ONNX knows no spline and no solver."""
    if not is_exported() or torch.compiler.is_dynamo_compiling():
        return make()
    # In a thread of its own nothing is recorded, and numbers leave it.
    with ThreadPoolExecutor(1) as pool:
        values = [matrix.tolist() for matrix in pool.submit(make).result()]
    rows, columns = (torch.tensor(value, dtype=torch.float64) for value in values)
    return rows, columns


class RelPosBias(nn.Module):
    """A table of relative positions that all blocks share; zero at the start."""

    def __init__(self, positions: RelativePositions, num_heads: int):
        super().__init__()
        self.positions = positions
        self.relative_position_bias_table = positions.new_table(num_heads)

    def forward(self, grid: Grid) -> Tensor:
        """Return the attention bias (1, heads, 1 + N, 1 + N) for a grid."""
        return self.positions.bias_of(self, grid)


def gather_bias(table: Tensor, index: Tensor) -> Tensor:
    """Return the attention bias (1, heads, 1 + N, 1 + N) of a table and the index of its grid."""
    bias = table[index.flatten()].unflatten(0, index.shape)
    return bias.permute(2, 0, 1)[None].contiguous()


class PositionCache:
    """Attention biases, kept as long as the tables they were made of hold the same values.

    The values themselves are compared. The version counters of tensors are no substitute: a fused
    optimizer's step leaves them as they are, and so does writing through ``.data``, as MMEngine's
    EMAHook does.

    Args:
        max_bytes: Most that is kept. A bias that does not fit beside those of its own grid is made
            each time; biases of other grids give way. 0 keeps nothing.
    """

    def __init__(self, max_bytes: float):
        self.max_bytes = max_bytes
        self._seen: dict[Hashable, Tensor] = {}
        self._biases: dict[tuple[Hashable, Grid], Tensor] = {}

    @property
    def num_bytes(self) -> int:
        return sum(bias.nbytes for bias in self._biases.values())

    def get(self, owner: Hashable, table: Tensor, grid: Grid, make: Callable[[], Tensor]) -> Tensor:
        """Return the bias of ``table`` for ``grid``, from ``make`` where none is kept.

        A table of other values than the last one of ``owner`` takes that one's place.
        """
        if self.max_bytes <= 0:
            return make()
        # What is kept serves a later forward that records gradients, too, which refuses tensors
        # of an inference mode.
        with torch.inference_mode(False), torch.no_grad():
            if not _is_equal(table, self._seen.get(owner)):
                self._drop([key for key in self._biases if key[0] == owner])
                self._seen[owner] = table.detach().clone()
            bias = self._biases.get((owner, grid))
            if bias is None:
                bias = make()
                self._keep((owner, grid), bias)
        return bias

    def _keep(self, key: tuple[Hashable, Grid], bias: Tensor) -> None:
        others = [other for other in self._biases if other[1] != key[1]]
        while others and self.num_bytes + bias.nbytes > self.max_bytes:
            self._drop([others.pop(0)])
        if self.num_bytes + bias.nbytes <= self.max_bytes:
            self._biases[key] = bias

    def _drop(self, keys: list[tuple[Hashable, Grid]]) -> None:
        for key in keys:
            self._biases.pop(key, None)


def _is_equal(a: Tensor, b: Tensor | None) -> bool:
    return (
        b is not None
        and (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
        and torch.equal(a, b)
    )
