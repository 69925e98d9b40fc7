"""What came out of a file: plain values through and through, or the tensors of a pickled module."""

from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import Tensor, nn

from beit_mm.checkpoints.inert_pickle import Budget, Name, Object, UnsafeCheckpointError, shown
from beit_mm.contracts.errors import UserError

MAX_DEPTH = 100  # what copies, prints or saves nested values can't go much deeper
VISIT = 16  # bytes that looking at a value is counted as
LEAVES = {
    *(type(None), bool, int, float, complex, str, bytes, bytearray),
    *(Tensor, nn.Parameter, torch.Size, torch.dtype, torch.device),
    *(np.ndarray, HistoryBuffer, type(Path())),
}
TENSOR_KINDS = {
    'torch._utils._rebuild_sparse_tensor': 'a sparse layout',
    'torch._utils._rebuild_sparse_csr_tensor': 'a sparse layout',
    'torch._utils._rebuild_qtensor': 'a quantized type',
    'torch._utils._rebuild_nested_tensor': 'nested tensors',
    'torch._utils._rebuild_wrapper_subclass': 'a class of its own',
}


class ForeignContentError(UnsafeCheckpointError):
    """A value is of a class that no reader of ours makes."""


def check_plain(value: Any, budget: Budget, place: tuple = (), depth: int = 0) -> None:
    """Raise unless all values are plain, on all ways to them.

    Args:
        place: The key of the value, behind the places of what is around it.
    """
    kind = type(value)
    budget.spend(VISIT + (len(value) if kind in (str, bytes, bytearray) else _bytes_of(value)))
    if kind in LEAVES or isinstance(value, (np.generic, np.dtype)):
        return
    if depth == MAX_DEPTH:
        raise UnsafeCheckpointError(f'its values are nested more than {MAX_DEPTH} deep')
    for key, item in _items(value, place):
        check_plain(item, budget, (place, key), depth + 1)


def _bytes_of(value: Any) -> int:
    """Return the bytes of a copy of a tensor, which may be more than it has in its storage."""
    return value.numel() * value.itemsize if isinstance(value, Tensor) and not value.is_meta else 0


def _items(value: Any, place: tuple) -> Iterator[tuple[Any, Any]]:
    kind = type(value)
    if kind in (list, tuple):
        yield from enumerate(value)
    elif kind in (set, frozenset):
        yield from (('a member', item) for item in value)
    elif kind in (dict, OrderedDict, Counter):
        for key, item in value.items():
            yield 'a key', key
            yield key, item
        if kind is OrderedDict:
            yield from vars(value).items()
    elif kind is Namespace:
        yield from vars(value).items()
    else:
        raise _foreign(value, place)


def _foreign(value: Any, place: tuple) -> UserError:
    keys = []
    while place:
        place, key = place
        keys.insert(0, shown(str(key)) if type(key) in (str, int) else type(key).__name__)
    where = '.'.join(keys) or 'the whole'
    if type(value) is Object and value.path in TENSOR_KINDS:
        return UserError(
            f'{keys[-1] if keys else where} is of {TENSOR_KINDS[value.path]}, which is not read; '
            'save it again as dense float32, float16 or bfloat16'
        )
    if type(value) is Object:
        named = f'{value.path!r:.200}' + (f' ({shown(value.why, 200)})' if value.why else '')
    else:
        named = f'{value.path!r:.200}' if type(value) is Name else f'a {type(value).__name__}'
    return ForeignContentError(f'{where} is made by {named}')


def tensors_of_module(root: Object, budget: Budget) -> dict[str, Tensor]:
    """Return the parameters and buffers of a pickled module by name, as a state dict has them."""
    state_dict: dict[str, Tensor] = {}
    _collect(root, '', state_dict, budget, 0)
    return state_dict


def _collect(module: Object, prefix: str, found: dict, budget: Budget, depth: int) -> None:
    if depth == MAX_DEPTH:
        raise UnsafeCheckpointError(f'its modules are nested more than {MAX_DEPTH} deep')
    budget.spend(VISIT)
    for kind in ('_parameters', '_buffers', '_modules'):
        for name, value in _named(module, kind):
            budget.spend(VISIT + len(prefix) + len(name))
            if kind == '_modules' and type(value) is Object:
                _collect(value, f'{prefix}{name}.', found, budget, depth + 1)
            elif kind != '_modules' and isinstance(value, Tensor):
                budget.spend(_bytes_of(value))
                found[prefix + name] = value


def _named(module: Object, kind: str) -> list[tuple[str, Any]]:
    members = module.state.get(kind)
    if type(members) not in (dict, OrderedDict, type(None)):
        raise ForeignContentError(f'{kind} of a module is made by a {type(members).__name__}')
    return [(name, value) for name, value in (members or {}).items() if type(name) is str]
