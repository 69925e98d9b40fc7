from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

Make = Callable[[], Tensor]


class PositionCache:
    """What was made of an encoder's position tables, kept while the tables hold the same values.

    The values themselves are compared, once per forward and for all tables together. The version
    counters of tensors are no substitute: a fused optimizer's step leaves them as they are, and
    so does writing through ``.data``, as MMEngine's EMAHook does.

    Nothing is kept where a gradient to the tables is recorded, nor while the model is compiled,
    exported, traced or captured as a CUDA graph. A copy of a model, or one that is read from a
    file, starts with an empty cache.

    Args:
        max_bytes: Most that is kept. Whatever does not fit beside the entries of its own grid is
            made each time; entries of other grids give way. 0 keeps nothing.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.clear()

    def clear(self) -> None:
        self._seen: Tensor | None = None
        self._entries: dict[tuple, Tensor] = {}

    @property
    def num_bytes(self) -> int:
        return sum(entry.nbytes for entry in self._entries.values())

    def open(self, tables: Sequence[Tensor]) -> Callable[[tuple[Hashable, ...], Make], Tensor]:
        """For one forward: a function of a key, whose first item is the grid, and of ``make``."""
        if not tables or self.max_bytes <= 0 or _is_recorded(tables):
            return lambda key, make: make()
        with torch.inference_mode(False), torch.no_grad():
            values = torch.cat([table.detach().flatten() for table in tables])
            if not _equal(values, self._seen):
                self.clear()
                self._seen = values
        return self._get

    def _get(self, key: tuple[Hashable, ...], make: Make) -> Tensor:
        entry = self._entries.get(key)
        if entry is None:
            # Also for a later forward that records gradients, which refuses inference tensors.
            with torch.inference_mode(False), torch.no_grad():
                entry = make()
            self._keep(key, entry)
        return entry

    def _keep(self, key: tuple[Hashable, ...], entry: Tensor) -> None:
        for old in [old for old in self._entries if old[0] != key[0]]:
            if self.num_bytes + entry.nbytes <= self.max_bytes:
                break
            self._entries.pop(old, None)
        if self.num_bytes + entry.nbytes <= self.max_bytes:
            self._entries[key] = entry

    def __reduce__(self):
        return type(self), (self.max_bytes,)


def _is_recorded(tables: Sequence[Tensor]) -> bool:
    return (
        (torch.is_grad_enabled() and any(table.requires_grad for table in tables))
        or torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or (tables[0].is_cuda and torch.cuda.is_current_stream_capturing())
    )


def _equal(a: Tensor, b: Tensor | None) -> bool:
    return (
        b is not None
        and (a.shape, a.dtype, a.device) == (b.shape, b.dtype, b.device)
        and torch.equal(a, b)
    )
