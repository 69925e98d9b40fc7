"""The two formats of ``torch.save``: a zip archive, and pickles with the bytes of storages behind.

Both are a pickle, and records of bytes that it refers to by key. Nothing is unpickled but by
:class:`InertUnpickler`, and no record is read before its size is known to be what the pickle says.
"""

import mmap
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from beit_mm.checkpoints.inert_pickle import (
    Budget,
    InertUnpickler,
    Name,
    Object,
    UnsafeCheckpointError,
    shown,
)
from beit_mm.checkpoints.known_names import CALLS, STATES
from beit_mm.checkpoints.known_tensors import DTYPES, STORAGES, Storage
from beit_mm.checkpoints.store.saved_checkpoints import describe_excess
from beit_mm.checkpoints.trust import VARIABLE
from beit_mm.contracts.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of a file that torch < 1.6 has written
LEGACY_PROTOCOL = 1001
CHUNK = 2**24  # bytes that are read at once


class ZipRecords:
    """Members of an archive, which are read in pieces: what one unpacks to is not believed."""

    def __init__(self, archive: zipfile.ZipFile, folder: str = ''):
        self.archive, self.folder = archive, folder

    def size(self, name: str) -> int:
        return self.archive.getinfo(self.folder + name).file_size

    def fill(self, name: str, view: memoryview) -> None:
        place = 0
        try:
            with self.archive.open(self.folder + name) as file:
                while place < len(view):
                    part = file.read(min(CHUNK, len(view) - place))
                    if not part:
                        raise zipfile.BadZipFile('too short')
                    view[place : place + len(part)] = part
                    place += len(part)
        except zipfile.BadZipFile:
            named = shown(self.folder + name)
            raise UserError(
                f'the file is damaged, {named} in it has another checksum than when it was saved '
                '(or none, by torch.serialization.set_crc32_options(False)). Download '
                f'or save it again; {VARIABLE}=1 reads it without this check'
            ) from None

    def read(self, name: str) -> bytes:
        content = bytearray(self.size(name))
        self.fill(name, memoryview(content))
        return bytes(content)


class LegacyRecords:
    """Parts of a file by key: (first byte, number of bytes)."""

    def __init__(self, file: mmap.mmap, places: Mapping[str, tuple[int, int]]):
        self.file, self.places = file, places

    def size(self, key: str) -> int:
        return self.places[key][1]

    def fill(self, key: str, view: memoryview) -> None:
        start, size = self.places[key]
        with memoryview(self.file) as content, content[start : start + size] as part:
            view[:] = part


class Storages:
    """Storages by key, each read once, so that tensors which share one still do.

    Args:
        records: None where the sizes are not known yet; then nothing is read.
        map_location: As ``torch.load`` takes it; None is the CPU. 'meta' reads nothing.
    """

    def __init__(self, budget: Budget, records: Any, map_location: Any, prefix: str = ''):
        self.budget, self.records, self.map_location = budget, records, map_location
        self.prefix = prefix
        self.made: dict[str, tuple[torch.UntypedStorage, torch.dtype]] = {}

    def __call__(self, kind: Any, key: Any, location: Any, numel: Any, view: Any = None) -> Storage:
        dtype = STORAGES.get(kind.path) if type(kind) is Name else None
        if dtype is None or type(key) is not str or type(numel) is not int or numel < 0:
            named = kind.path if type(kind) is Name else type(kind).__name__
            raise UnsafeCheckpointError(f'it has a storage of an unknown type ({shown(named)})')
        if key not in self.made:
            self.made[key] = self._make(key, dtype, numel * dtype.itemsize, location), dtype
        data, first = self.made[key]
        mixed = dtype is torch.bool and first is not torch.bool  # whose bytes were not checked
        if mixed or data.nbytes() != numel * dtype.itemsize:
            raise UnsafeCheckpointError('it gives two sizes or types of one storage')
        if view is not None:  # as torch < 0.4 has written them
            raise UnsafeCheckpointError('it has parts of storages')
        return Storage(dtype, data, numel)

    def _make(self, key: str, dtype: torch.dtype, size: int, location: Any) -> torch.UntypedStorage:
        if self.records is not None and (stored := self.records.size(self.prefix + key)) != size:
            raise UnsafeCheckpointError(
                f'{self.prefix}{shown(key)} has another size than the pickle says: {stored}, {size}'
            )
        if self.records is None or str(self.map_location) == 'meta':
            return torch.empty(size, dtype=torch.uint8, device='meta').untyped_storage()
        self.budget.spend(size)
        data = torch.empty(size, dtype=torch.uint8)
        if size:
            self.records.fill(self.prefix + key, memoryview(data.numpy()))
            if dtype is torch.bool and data.max() > 1:
                raise UnsafeCheckpointError('truth values in it are other bytes than 0 and 1')
        return self._placed(data, location)

    def _placed(self, data: Tensor, location: Any) -> torch.UntypedStorage:
        target = self.map_location
        if isinstance(target, Mapping):
            target = target.get(location, 'cpu')
        if callable(target):
            storage = data.untyped_storage()
            return target(storage, location) or storage
        return data.to(target or 'cpu').untyped_storage()


def read_torch_file(path: Path, map_location: Any) -> tuple[Any, Budget]:
    """Return what a file of ``torch.save`` holds, and what is left of its budget.

    Raises:
        UnsafeCheckpointError: It asks for something that is not there, or for too much.
        UserError: It is damaged or another kind of file.
    """
    budget = Budget(path.stat().st_size)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zip(archive, budget, map_location), budget
    with open(path, 'rb') as file:
        start = file.read(40)
        if not start:
            raise UserError('the file is damaged: it is empty')
        if not start.startswith((b'PK', b'\x80')):  # a zip archive, a pickle
            page = ', a web page' if start.lstrip()[:1] == b'<' else ''
            raise UserError(
                f'the file is not a checkpoint{page}; it begins with {start!r}. Download or save '
                'it again'
            )
        if start.startswith(b'PK'):
            raise UserError('the file is damaged: the end of the archive is missing')
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _read_legacy(content, budget, map_location), budget


def _unpickle(file: Any, budget: Budget, storage_of: Callable) -> Any:
    return InertUnpickler(file, budget, storage_of, CALLS, STATES, DTYPES).load()


def _read_zip(archive: zipfile.ZipFile, budget: Budget, map_location: Any) -> Any:
    members = archive.infolist()
    names = [member.filename for member in members]
    if why := describe_excess(archive, budget.file_bytes):
        raise UnsafeCheckpointError(why)
    if any(name.endswith('constants.pkl') for name in names):
        raise UserError('it is a TorchScript archive, which holds code; save its state_dict()')
    pickles = [name for name in names if name.endswith('data.pkl')]
    if len(pickles) != 1:
        raise UserError(f'the file is not a checkpoint: an archive with {len(pickles)} data.pkl')
    records = ZipRecords(archive, pickles[0].removesuffix('data.pkl'))
    order = records.folder + 'byteorder'
    if order in names and records.read('byteorder')[:9] != sys.byteorder.encode():
        raise UserError('it was saved on a machine of another byte order; save it again on this')
    budget.spend(records.size('data.pkl'))
    storages = Storages(budget, records, map_location, 'data/')
    return _unpickle(BytesIO(records.read('data.pkl')), budget, storages)


def _read_legacy(file: mmap.mmap, budget: Budget, map_location: Any) -> Any:
    """Unpickle twice where data are wanted: it is the pickle that says where which are."""
    unknown = Storages(budget, None, 'meta')
    first = _unpickle(file, budget, unknown)
    if type(first) in (Name, Object):
        return first
    if type(first) is not int or first != LEGACY_MAGIC:
        raise UserError('the file is not a checkpoint: a pickle that torch.save has not written')
    protocol = _unpickle(file, budget, unknown)
    if type(protocol) is not int or protocol != LEGACY_PROTOCOL:
        raise UserError('the file is damaged: its format has another number')
    machine = _unpickle(file, budget, unknown)
    if type(machine) is dict and machine.get('little_endian') is (sys.byteorder != 'little'):
        raise UserError('it was saved on a machine of another byte order; save it again on this')
    start = file.tell()
    root = _unpickle(file, Budget(budget.file_bytes), unknown)
    keys = _unpickle(file, budget, unknown)
    if (
        type(keys) is not list
        or not set(map(type, keys)) <= {str}
        or set(keys) != set(unknown.made)
    ):
        raise UnsafeCheckpointError('its storages are other ones than its tensors say')
    places = {}
    for key in keys:
        data, dtype = unknown.made[key]
        (numel,) = struct.unpack('<q', file.read(8))
        if numel * dtype.itemsize != data.nbytes():
            raise UnsafeCheckpointError('a storage has another length than its tensors say')
        places[key] = file.tell(), data.nbytes()
        if file.tell() + data.nbytes() > len(file):
            raise UserError('the file is damaged: it ends inside of a tensor')
        file.seek(data.nbytes(), 1)
    if str(map_location) == 'meta':
        return root
    file.seek(start)
    return _unpickle(file, budget, Storages(budget, LegacyRecords(file, places), map_location))
