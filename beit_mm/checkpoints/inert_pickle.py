"""Tensors out of a pickled module, without importing or calling anything that the file names.

``torch.save(module)`` stores classes by name and needs their code to be read again. OpenAI's
``encoder.pkl`` and ``decoder.pkl`` are such files. Here every name that the file says becomes an
inert stand-in that only remembers the state it is given; the few names of tensor data are mapped
to functions of this file. What comes out is the state dict.
"""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file that torch < 1.6 has written
LEGACY_PROTOCOL = 1001

STORAGES = {
    'FloatStorage': torch.float32,
    'DoubleStorage': torch.float64,
    'HalfStorage': torch.float16,
    'BFloat16Storage': torch.bfloat16,
    'LongStorage': torch.int64,
    'IntStorage': torch.int32,
    'ShortStorage': torch.int16,
    'CharStorage': torch.int8,
    'ByteStorage': torch.uint8,
    'BoolStorage': torch.bool,
}


class StandIn:
    """Replaces an object of any class: accepts every call, does nothing, keeps its state."""

    path = ''

    def __new__(cls, *args, **kwargs) -> 'StandIn':
        self = super().__new__(cls)
        self.state = {}
        return self

    def __init__(self, *args, **kwargs):
        pass

    def __call__(self, *args, **kwargs) -> 'StandIn':
        return StandIn()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], dict):
            state = state[0]
        if isinstance(state, dict):
            self.state.update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        pass

    def extend(self, items: Any) -> None:
        pass

    add = append


class Known:
    """A function that the file may call; its state cannot be set from the file."""

    __slots__ = ('function',)

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, *args) -> Any:
        return self.function(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError('The file changes a function')


class Storage:
    """A storage of zeros, filled later: legacy files have the bytes after the pickle."""

    def __init__(self, dtype: torch.dtype, numel: int, limit: int):
        if not isinstance(dtype, torch.dtype) or not 0 <= numel * dtype.itemsize <= limit:
            raise pickle.UnpicklingError('A storage of unknown type, or larger than the file')
        self.dtype, self.numel = dtype, numel
        self.data = torch.zeros(numel, dtype=dtype)

    @property
    def num_bytes(self) -> int:
        return self.data.element_size() * self.numel

    def fill(self, data: bytes) -> None:
        if len(data) != self.num_bytes:
            raise pickle.UnpicklingError('The file ends inside of a tensor')
        if data:  # in place, for the tensors that were made of it already
            self.data.copy_(torch.frombuffer(bytearray(data), dtype=self.dtype))


class Storages(dict):
    """Storages by key, which together may not be larger than the file (torch never compresses)."""

    def __init__(self, limit: int):
        super().__init__()
        self.left = limit

    def make(self, key: str, dtype: torch.dtype, numel: int) -> Storage:
        self[key] = Storage(dtype, numel, self.left)
        self.left -= self[key].num_bytes
        return self[key]


def rebuild_tensor(storage: Storage, offset: int, size: tuple, stride: tuple, *_) -> Tensor:
    return storage.data.as_strided(tuple(size), tuple(stride), offset)  # stays inside, or raises


def rebuild_parameter(data: Any, *_) -> Any:
    return data


KNOWN = {
    ('collections', 'OrderedDict'): OrderedDict,
    ('torch', 'Size'): tuple,
    ('torch._utils', '_rebuild_tensor'): Known(rebuild_tensor),
    ('torch._utils', '_rebuild_tensor_v2'): Known(rebuild_tensor),
    ('torch._utils', '_rebuild_parameter'): Known(rebuild_parameter),
    ('torch.nn.parameter', 'Parameter'): Known(rebuild_parameter),
}


class InertUnpickler(pickle._Unpickler):
    """An unpickler that finds no class but the stand-ins.

    It is the one in Python: that in C makes a memo as long as the largest number that the file
    says, up to 64 GB.
    """

    def __init__(self, file: io.BufferedIOBase, storage_of):
        super().__init__(file, encoding='latin1')
        self.storage_of = storage_of

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        if module in ('torch', 'torch.storage') and name in STORAGES:
            return STORAGES[name]
        return type('StandIn', (StandIn,), dict(path=f'{module}.{name}'))

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and pid and pid[0] == 'module':
            return pid[1]  # the class, as legacy files store it beside its source
        if isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == 'storage':
            return self.storage_of(pid)
        raise pickle.UnpicklingError(f'An unknown reference {pid!r:.80}')


def read_pickled_module(path: str | Path) -> tuple[str, dict[str, Tensor]]:
    """Return the name of the module's class, and its parameters and buffers by name.

    Raises:
        pickle.UnpicklingError: The file holds something other than a pickled module.
    """
    try:
        root = _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
        state_dict = {}
        if isinstance(root, StandIn) and '_modules' in root.state:
            _collect(root, '', state_dict)
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # whatever a file that is no pickled module makes pickle do
        raise pickle.UnpicklingError(f'It cannot be read as a pickled module: {error}') from error
    if not state_dict:
        raise pickle.UnpicklingError('There is no pickled module with tensors in the file')
    return root.path, state_dict


def _read_zip(path: str | Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith('/data.pkl')]
        if len(names) != 1:
            raise pickle.UnpicklingError('The archive has no data.pkl')
        folder = names[0][: -len('data.pkl')]
        limit = Path(path).stat().st_size
        storages = Storages(limit)

        def read(name: str, size: int | None = None) -> bytes:
            stored = archive.getinfo(name).file_size  # what it would be, before it is unpacked
            if stored > limit or size not in (None, stored):
                raise pickle.UnpicklingError(f'{name} has another size than the file says')
            return archive.read(name)

        def storage_of(pid: tuple) -> Storage:
            dtype, key, _, numel = pid[1:5]
            if key not in storages:
                storage = storages.make(key, dtype, numel)
                storage.fill(read(f'{folder}data/{key}', storage.num_bytes))
            return storages[key]

        return InertUnpickler(io.BytesIO(read(names[0])), storage_of).load()


def _read_legacy(path: str | Path) -> Any:
    with open(path, 'rb') as file:
        return _read_legacy_stream(file, limit=Path(path).stat().st_size)


def _read_legacy_stream(file: io.BufferedIOBase, limit: int) -> Any:
    storages = Storages(limit)

    def storage_of(pid: tuple) -> Storage:
        dtype, key, _, numel, view = (*pid[1:], None)[:5]
        if view is not None:
            raise pickle.UnpicklingError('A view of a storage, which this reader does not know')
        if key not in storages:
            storages.make(key, dtype, numel)
        return storages[key]

    def load() -> Any:
        return InertUnpickler(file, storage_of).load()

    if load() != LEGACY_MAGIC or load() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError('It is not a file of torch.save')
    load()  # facts about the machine
    root = load()
    for key in load():
        storage = storages[key]
        (numel,) = struct.unpack('<q', file.read(8))
        if numel != storage.numel:
            raise pickle.UnpicklingError('A storage has another length than its tensors say')
        storage.fill(file.read(storage.num_bytes))
    return root


def _collect(module: StandIn, prefix: str, state_dict: dict[str, Tensor]) -> None:
    for kind in ('_parameters', '_buffers'):
        for name, value in (module.state.get(kind) or {}).items():
            if isinstance(value, Tensor):
                state_dict[prefix + name] = value
    for name, child in (module.state.get('_modules') or {}).items():
        if isinstance(child, StandIn):
            _collect(child, f'{prefix}{name}.', state_dict)
