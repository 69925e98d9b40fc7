import pickle
from collections.abc import Callable, Sequence
from functools import partial
from io import BytesIO
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info

ALIGNMENT = 64  # bytes, more than any type needs


class SharedBatch:
    """Any batch, which a worker hands over with one piece of shared memory for all its tensors.

    torch shares each tensor by itself, which takes a handshake between the processes; a batch of
    64 images with a mask each has 128. The other process finds the batch as it was, not this
    object. Tensors that are in shared memory already, as default_collate makes them, stay there.
    """

    def __init__(self, batch: Any):
        self.batch = batch

    def __reduce__(self) -> tuple[Callable, tuple]:
        file = BytesIO()
        pickler = _Pickler(file, pickle.HIGHEST_PROTOCOL)
        pickler.dump(self.batch)
        tensors = [tensor for _, tensor in pickler.tensors.values()]
        places, end = [], 0
        for tensor in tensors:
            places.append(None if tensor.is_shared() else (end, tensor.dtype, tensor.shape))
            end += 0 if tensor.is_shared() else -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        memory = torch.empty(end, dtype=torch.uint8)
        if end:
            memory.share_memory_()
        for place, tensor in zip(places, tensors, strict=True):
            if place is not None:
                _view(memory, *place).copy_(tensor)
        shared = [tensor for tensor in tensors if tensor.is_shared()]
        return _put_together, (file.getvalue(), memory, places, shared)


class _Pickler(pickle.Pickler):
    """Pickler that leaves out tensors and keeps them, with their numbers, by ``id``."""

    def __init__(self, *args):
        super().__init__(*args)
        self.tensors: dict[int, tuple[int, Tensor]] = {}

    def persistent_id(self, part: Any) -> int | None:
        if type(part) is not Tensor or part.layout != torch.strided or part.device.type != 'cpu':
            return None
        return self.tensors.setdefault(id(part), (len(self.tensors), part))[0]


class _Unpickler(pickle.Unpickler):
    """Puts the tensors back. Python 3.13.0 lets no object have a ``persistent_load`` of its own."""

    def __init__(self, file: BytesIO, tensors: Sequence[Tensor]):
        super().__init__(file)
        self.tensors = tensors

    def persistent_load(self, number: int) -> Tensor:
        return self.tensors[number]


def share_batches(loader: DataLoader) -> None:
    """Let the workers of ``loader`` hand over each batch as a SharedBatch."""
    loader.collate_fn = partial(_collate, loader.collate_fn)


def _collate(collate: Callable, samples: Sequence) -> Any:
    batch = collate(samples)
    return batch if get_worker_info() is None else SharedBatch(batch)


def _put_together(content: bytes, memory: Tensor, places: list, shared: list[Tensor]) -> Any:
    rest = iter(shared)
    tensors = [next(rest) if place is None else _view(memory, *place) for place in places]
    return _Unpickler(BytesIO(content), tensors).load()


def _view(memory: Tensor, start: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    end = start + shape.numel() * dtype.itemsize
    return memory[start:end].view(dtype).view(shape)
