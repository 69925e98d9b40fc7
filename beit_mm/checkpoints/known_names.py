"""What a checkpoint may hold besides plain Python types, and how it is rebuilt from checked data.

Genuine checkpoints name functions of torch, numpy and MMEngine. Each is answered by a function of
this file instead, which takes what the file says and believes none of it. An exception means
that a value can't be rebuilt: the reader says so where the value is needed.
"""

import math
import re
from argparse import Namespace
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from beit_mm.checkpoints.inert_pickle import Name, Object, check_key
from beit_mm.checkpoints.known_tensors import TENSORS, has_whole_numbers

HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
STATISTICS = ('min', 'max', 'current', 'mean')
NUMBERS = 'b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16'.split()

# ---- numpy ----


def finish_dtype(target: Object, state: tuple) -> np.dtype:
    """Make a dtype of numbers or text."""
    code, order = target.args[0], state[1]
    code = code.decode('ascii') if type(code) is bytes else code
    if type(code) is not str or type(order) is not str:
        raise ValueError('numpy data of an unknown type')
    is_text = re.fullmatch('[SU][0-9]{1,9}', code)
    if not (code in NUMBERS or is_text) or order not in ('<', '>', '|', '='):
        raise ValueError(f'numpy data of type {code!r:.40}, not of plain numbers or text')
    if any(part is not None for part in state[2:5]):
        raise ValueError('numpy data with fields')
    return np.dtype(order + code)


def make_array(data: Any, dtype: np.dtype, shape: tuple, order: str = 'C') -> np.ndarray:
    """Make an array of its bytes, in the byte order of this machine."""
    data = data.encode('latin1') if type(data) is str else data  # as Python 2 has written it
    if not isinstance(dtype, np.dtype):
        raise ValueError('an array of objects or of an unknown type')
    is_shape = has_whole_numbers(shape) and len(shape) <= 64 and max(shape, default=0) < 2**63
    if type(data) not in (bytes, bytearray) or not is_shape:
        raise ValueError('an array without bytes or shape')
    if dtype.itemsize == 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ValueError(f'an array of shape {shape} and {len(data)} bytes')
    if dtype.kind == 'b' and len(data) and np.frombuffer(data, np.uint8).max() > 1:
        raise ValueError('an array of truth values with other bytes')
    if not len(data):
        return np.zeros(shape, dtype, order)
    array = np.frombuffer(data, dtype).reshape(shape, order=order).copy(order)
    if dtype.kind == 'U':
        array.tolist()  # raises for numbers that are no characters
    return array.astype(dtype.newbyteorder('='), copy=False)


def finish_array(target: Object, state: tuple) -> np.ndarray:
    shape, dtype, is_fortran, data = state[-4:]
    return make_array(data, dtype, shape, 'F' if is_fortran else 'C')


def begin_array(cls: Name, *_) -> Object:
    if cls.path != 'numpy.ndarray':
        raise ValueError(f'an array of the class {cls.path}')
    return Object(cls.path)


def make_scalar(dtype: np.dtype, data: Any) -> np.generic:
    """Make a number or a text of its bytes."""
    if isinstance(dtype, np.dtype) and not dtype.itemsize:
        return dtype.type()
    return make_array(data, dtype, (1,))[0]


# ---- of Python and MMEngine ----


def make_set(items: Any = None, kind: type = set) -> set | frozenset:
    items = [] if items is None else items
    if type(items) is not list:
        raise ValueError(f'a set of a {type(items).__name__}')
    for item in items:
        check_key(item, len(items))
    return kind(items)


def make_bytes(content: Any = b'', encoding: str = 'latin1') -> bytes:
    """Make bytes, which protocol 2 writes as text."""
    if type(content) is str and encoding in ('latin1', 'latin-1'):
        return content.encode('latin1')
    if type(content) not in (bytes, bytearray):
        raise ValueError(f'bytes of a {type(content).__name__}')
    return bytes(content)


def make_dict(pairs: Any = None) -> OrderedDict:
    made, pairs = OrderedDict(), [] if pairs is None else pairs
    if type(pairs) is not list or any(type(pair) not in (list, tuple) for pair in pairs):
        raise ValueError('a dict of something that is not pairs')
    for key, value in pairs:
        check_key(key, len(pairs))
        made[key] = value
    return made


def make_counter(counts: dict | None = None) -> Counter:
    if type(counts) not in (dict, type(None)):
        raise ValueError(f'counts of a {type(counts).__name__}')
    return Counter(counts)


def make_complex(real: float, imaginary: float) -> complex:
    if type(real) is not float or type(imaginary) is not float:
        raise ValueError('a complex number of other values')
    return complex(real, imaginary)


def make_size(numbers: tuple) -> torch.Size:
    if type(numbers) not in (tuple, list) or any(type(n) is not int for n in numbers):
        raise ValueError('a size of other values')
    return torch.Size(numbers)


def make_device(kind: str, index: int | None = None) -> torch.device:
    if type(kind) is not str or type(index) not in (int, type(None)):
        raise ValueError('a device of other values')
    return torch.device(kind[:40]) if index is None else torch.device(kind[:40], index)


def make_layout(path: str) -> Name:
    if type(path) is not str:
        raise ValueError('a layout of other values')
    return Name(path)


def make_path(*parts: str) -> Path:
    if any(type(part) is not str for part in parts):
        raise ValueError('a path of other values')
    return Path(*parts)


def name_of_statistic(owner: Name, name: str) -> Name:
    """Return the name of a method of the histories, the only attribute a file may ask for."""
    name = name if type(name) is str else type(name).__name__
    if type(owner) is not Name or owner.path != HISTORY or name not in STATISTICS:
        raise ValueError(f'it asks for the attribute {name!r:.40}')
    return Name(f'{HISTORY}.{name}')


def finish_history(target: Object, state: dict) -> HistoryBuffer:
    names = ('max_length', '_log_history', '_count_history')
    state = {name: value for name, value in state.items() if name != 'statistics_methods'}
    length, *parts = [state.get(name) for name in names]
    if set(state) != set(names) or type(length) is not int:
        raise ValueError('a log history with other fields')
    if any(type(part) is not np.ndarray or part.ndim != 1 for part in parts):
        raise ValueError('a log history that is not of arrays')
    history = HistoryBuffer(max_length=length)
    history._log_history, history._count_history = parts
    return history


def finish_options(target: Object, state: dict) -> Namespace:
    """Make the options of a command line, which the original and timm store."""
    if type(state) is not dict or not {type(name) for name in state} <= {str}:
        raise ValueError('options without names')
    if set(state) & set(dir(Namespace)):
        raise ValueError('options that are named like methods')
    options = Namespace()
    vars(options).update(state)
    return options


CALLS = {
    **TENSORS,
    'torch.Size': make_size,
    'torch.device': make_device,
    'torch.serialization._get_layout': make_layout,
    'collections.OrderedDict': make_dict,
    'collections.Counter': make_counter,
    'builtins.set': make_set,
    'builtins.frozenset': lambda items=None: make_set(items, frozenset),
    'builtins.bytes': make_bytes,
    'builtins.bytearray': lambda *args: bytearray(make_bytes(*args)),
    'builtins.complex': make_complex,
    'builtins.getattr': name_of_statistic,
    '_codecs.encode': make_bytes,
    'numpy.dtype': lambda *args: Object('numpy.dtype', args),
    **{
        f'numpy.{core}.{name}': function
        for core in ('core', '_core')
        for name, function in {
            'multiarray._reconstruct': begin_array,
            'multiarray.scalar': make_scalar,
            'numeric._frombuffer': make_array,
        }.items()
    },
    **{
        f'{module}.{kind}Path': make_path
        for module in ('pathlib', 'pathlib._local')
        for kind in ('Posix', 'Windows', 'PurePosix', 'PureWindows')
    },
}
STATES = {
    'numpy.dtype': finish_dtype,
    'numpy.ndarray': finish_array,
    HISTORY: finish_history,
    'argparse.Namespace': finish_options,
}
