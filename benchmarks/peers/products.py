"""The matrix products of a step alone: the time that no implementation of it can go below."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import flop_registry


class Products(TorchDispatchMode):
    """Records the products, convolutions and attention of what runs inside, to run them alone.

    Attributes:
        flops: Of all of them, as torch counts them: two for each multiplication and addition.
    """

    def __init__(self):
        super().__init__()
        self.flops = 0
        self.calls: list[Callable[[], object]] = []
        self.tensors: dict[tuple, Tensor] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **kwargs, out_val=out)
            inputs = tree_map(self._alike, args)
            self.calls.append(lambda: func(*inputs, **kwargs))
        return out

    @torch.no_grad()
    def run(self) -> None:
        """Compute the products once more, with random numbers of the same layouts."""
        for call in self.calls:
            call()

    def _alike(self, value):
        if not isinstance(value, Tensor):
            return value
        layout = (*value.shape, *value.stride(), value.dtype)
        if layout not in self.tensors:
            self.tensors[layout] = torch.empty_strided(
                value.shape, value.stride(), dtype=value.dtype, device=value.device
            )
            if value.is_floating_point():
                self.tensors[layout].normal_()
        return self.tensors[layout]


def peak_product(dtype: torch.dtype, device: str, side: int = 2048) -> Callable[[], Tensor]:
    """Return a square product that is as fast as this machine can; of 2 side^3 operations."""
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return lambda: left @ right
