"""Tensors of a checkpoint, rebuilt by our functions inside of storages whose size is known.

Each stands for a function of torch that the file names, and believes none of its arguments.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from beit_mm.checkpoints.inert_pickle import Name, UnsafeCheckpointError

# Types with operators; others are of quantized tensors, or of less than a byte.
PLAIN = ('float64', 'float32', 'float16', 'bfloat16', 'complex128', 'complex64', 'complex32')
PLAIN += ('int64', 'int32', 'int16', 'int8', 'uint64', 'uint32', 'uint16', 'uint8')
PLAIN += ('float8_e4m3fn', 'float8_e5m2', 'float8_e4m3fnuz', 'float8_e5m2fnuz', 'float8_e8m0fnu')
PLAIN_DTYPES = tuple(f'torch.{name}' for name in PLAIN)
DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}
STORAGES = {
    'torch.storage.UntypedStorage': torch.uint8,
    'torch.FloatStorage': torch.float32,
    'torch.DoubleStorage': torch.float64,
    'torch.HalfStorage': torch.float16,
    'torch.BFloat16Storage': torch.bfloat16,
    'torch.LongStorage': torch.int64,
    'torch.IntStorage': torch.int32,
    'torch.ShortStorage': torch.int16,
    'torch.CharStorage': torch.int8,
    'torch.ByteStorage': torch.uint8,
    'torch.BoolStorage': torch.bool,
    'torch.ComplexFloatStorage': torch.complex64,
    'torch.ComplexDoubleStorage': torch.complex128,
    # Bytes of quantized tensors, which are refused where they are used.
    'torch.QInt8Storage': torch.int8,
    'torch.QUInt8Storage': torch.uint8,
    'torch.QInt32Storage': torch.int32,
}


@dataclass(frozen=True)
class Storage:
    """The bytes of a record, which are ``numel`` numbers."""

    dtype: torch.dtype
    data: torch.UntypedStorage
    numel: int


def has_whole_numbers(*groups: Any) -> bool:
    """Return whether all are tuples of ints from 0; a tensor is not even asked for its items."""
    if any(type(group) not in (tuple, torch.Size) for group in groups):
        return False
    return all(type(n) is int and n >= 0 for group in groups for n in group)


def check_shape(size: tuple, stride: tuple) -> None:
    if not has_whole_numbers(size, stride) or len(size) != len(stride) or len(size) > 64:
        raise UnsafeCheckpointError('a tensor has a shape or strides that there are not')
    if math.prod(max(n, 1) for n in size) >= 2**63:
        raise UnsafeCheckpointError(f'a tensor has the shape {tuple(size)}')


def make_tensor(
    storage: Storage,
    offset: int,
    size: tuple,
    stride: tuple,
    requires_grad: bool = False,
    hooks: Any = None,
    metadata: Any = None,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Make a tensor inside of a storage."""
    check_shape(size, stride)
    if type(storage) is not Storage or type(offset) is not int:
        raise UnsafeCheckpointError('a tensor has no storage')
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    end = offset + (last + 1 if math.prod(size) else 0)
    dtype = dtype or storage.dtype
    if not 0 <= offset <= end or end * dtype.itemsize > storage.numel * storage.dtype.itemsize:
        raise UnsafeCheckpointError(
            f'a tensor of shape {tuple(size)} reaches beyond its {storage.numel} numbers'
        )
    tensor = torch.empty(0, dtype=dtype, device=storage.data.device)
    tensor.set_(storage.data, offset, tuple(size), tuple(stride))
    if metadata:
        tensor = tensor.conj() if metadata.get('conj') else tensor
        tensor = tensor._neg_view() if metadata.get('neg') else tensor
    return tensor.requires_grad_(requires_grad is True and _has_gradient(tensor))


def make_tensor_of_type(storage, offset, size, stride, grad, hooks, dtype, metadata=None) -> Tensor:
    """Make a tensor of a type that has no storage class of its own."""
    # The bytes of truth values are checked as they are read.
    if type(dtype) is not torch.dtype or str(dtype) not in PLAIN_DTYPES:
        raise ValueError(f'a tensor of type {dtype}')
    return make_tensor(storage, offset, size, stride, grad, hooks, metadata, dtype=dtype)


def make_parameter(data: Any, requires_grad: bool = True, *_) -> Any:
    if not isinstance(data, Tensor):
        return data
    return nn.Parameter(data.detach(), requires_grad is True and _has_gradient(data))


def make_of_class(function: Name, cls: Name, args: tuple, state: Any) -> Tensor:
    """Make a tensor that had attributes, which are left out."""
    if type(args) is not tuple:
        raise ValueError('a tensor of no arguments')
    tensor = TENSORS[function.path](*args)
    if cls.path == 'torch.nn.parameter.Parameter':
        return make_parameter(tensor, tensor.requires_grad)
    if cls.path not in ('torch.Tensor', 'torch._tensor.Tensor'):
        raise ValueError(f'a tensor of the class {cls.path}')
    return tensor


def make_on_meta(dtype: torch.dtype, size: tuple, stride: tuple, requires_grad: bool) -> Tensor:
    check_shape(size, stride)
    return torch.empty_strided(tuple(size), tuple(stride), dtype=dtype, device='meta')


def make_of_device(data: Any, dtype: torch.dtype, *_) -> Tensor:
    """Make a tensor of a device that stores no bytes of its own (XLA, for example)."""
    if isinstance(data, np.ndarray):
        return torch.from_numpy(data).to(dtype)
    if data.dtype != dtype:
        raise ValueError(f'a tensor of {data.dtype} that was of {dtype}')
    return data


def _has_gradient(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


TENSORS = {
    'torch._utils._rebuild_tensor': make_tensor,
    'torch._utils._rebuild_tensor_v2': make_tensor,
    'torch._utils._rebuild_tensor_v3': make_tensor_of_type,
    'torch._utils._rebuild_parameter': make_parameter,
    'torch._utils._rebuild_parameter_with_state': make_parameter,
    'torch.nn.parameter.Parameter': make_parameter,
    'torch._tensor._rebuild_from_type_v2': make_of_class,
    'torch._utils._rebuild_meta_tensor_no_storage': make_on_meta,
    'torch._utils._rebuild_device_tensor_from_numpy': make_of_device,
    'torch._utils._rebuild_device_tensor_from_cpu_tensor': make_of_device,
    'torch._utils._rebuild_xla_tensor': make_of_device,
}
