from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from beit_mm.contracts.positions import Grid


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
