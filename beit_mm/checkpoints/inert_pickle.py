"""An unpickler that imports nothing, calls nothing of what a file names, and has a budget.

A name in the file becomes a :class:`Name`, and an object of a class an :class:`Object`; neither
does anything. What genuine checkpoints are made of (tensors, arrays, histories) is rebuilt by the
functions of ``known_names.py``, from arguments that they check.

Tables of a pickle and of ours meet in one place: ``PRICES`` has the instructions that are obeyed,
each with the bytes of memory that it is counted as.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from beit_mm.contracts.errors import UserError

# What reading may cost, in bytes: genuine files stay far below, since a tensor's name alone takes
# more of the file than its objects take of this.
LEAST_BUDGET, BUDGET_PER_BYTE = 2**24, 48


class UnsafeCheckpointError(UserError):
    """The file names code that reading it would run, or takes more than it is worth."""


def shown(text: str, most: int = 80) -> str:
    """Return a text of the file without control characters, and no more than its beginning."""
    return repr(text)[1:-1][:most]


class Budget:
    """What one file may cost: bytes of tensors, of Python objects and of visits to them."""

    def __init__(self, file_bytes: int):
        self.left = LEAST_BUDGET + BUDGET_PER_BYTE * file_bytes
        self.file_bytes = file_bytes

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            raise UnsafeCheckpointError(
                f'the file has {self.file_bytes} bytes, and its content takes more than '
                f'{BUDGET_PER_BYTE} times that (many or nested values, copies, or tensors that are '
                'larger than their bytes; if it is yours, save clones of these)'
            )


class Name:
    """A class or function that the file names, ``path`` as in an import."""

    __slots__ = ('path',)

    def __init__(self, path: str):
        self.path = path


class Object:
    """An object that is not rebuilt, or not yet: it only remembers.

    Attributes:
        path: What the file calls to make it.
        args: What a function of ours remembers of that call.
        why: Why it is not rebuilt, if its class is known.
        state: The attributes that the file sets.
        built: The value, after they were set, if its class is known.
    """

    __slots__ = ('args', 'built', 'path', 'state', 'why')

    def __init__(self, path: str, args: tuple = (), why: str | None = None):
        self.path, self.args, self.why = path, args, why
        self.state: dict = {}
        self.built = None

    def keep(self, state: Any) -> None:
        if type(state) is tuple and len(state) == 2:  # attributes, and those in slots
            state = state[0]
        if type(state) is dict:
            self.state.update(state)


KEYS = (str, int, bool, float, complex, bytes, type(None), torch.dtype, torch.device, Name, Object)


def check_key(key: Any, among: int) -> None:
    """Raise unless hashing a key, and finding it among others, takes little.

    A tuple in tuples can take for ever, or crash.
    """
    for part in key if type(key) is tuple else (key,):
        if type(part) not in KEYS:
            raise UnsafeCheckpointError(
                f'it has a key or a member of a set of type {type(part).__name__}'
            )
        is_small = type(part) is int and abs(part) <= 2**64
        if type(part) in (int, float, complex) and not is_small and among > 1000:
            raise UnsafeCheckpointError('it has more than 1000 keys that may have one hash')
    if type(key) is tuple and among > 1000:
        raise UnsafeCheckpointError('it has more than 1000 tuples as keys, which may have one hash')


def size_of(value: Any) -> int:
    """Return about how many bytes a copy of ``value`` takes."""
    if type(value) in (str, bytes, bytearray):
        return len(value)
    if type(value) is np.ndarray:
        return 16 * value.nbytes  # a tensor of it may be of a larger type
    if type(value) is tuple:
        return 16 * len(value)
    return 100 * len(value) if type(value) in (list, dict, OrderedDict) else 0  # sets, dicts of it


class InertUnpickler(pickle._Unpickler):
    """The unpickler in Python, of which only what moves plain values is left.

    Args:
        file: Where ``read`` never returns more than there is: in memory, or memory-mapped.
        storage_of: Returns the storage that a reference of the file says.
        calls: Functions for names that the file calls; an exception of theirs is kept as ``why``.
        states: Functions of an ``Object`` and its state, for the names of its class.
        constants: What stands for a name itself.
    """

    def __init__(
        self,
        file: Any,
        budget: Budget,
        storage_of: Callable,
        calls: Mapping[str, Callable],
        states: Mapping[str, Callable],
        constants: Mapping[str, Any],
    ):
        super().__init__(file, encoding='latin1')
        self.budget, self.storage_of = budget, storage_of
        self.calls, self.states, self.constants = calls, states, constants

    def find_class(self, module: str, name: str) -> Any:
        module = {'__builtin__': 'builtins', 'copy_reg': 'copyreg'}.get(module, module)
        path = f'{module}.{name}'
        return self.constants[path] if path in self.constants else Name(path)

    def persistent_load(self, pid: Any) -> Any:
        if type(pid) is tuple and len(pid) > 1 and pid[0] == 'module':
            return pid[1]  # the class, as legacy files store it beside its source
        if type(pid) is tuple and len(pid) in (5, 6) and pid[0] == 'storage':
            return self.storage_of(*pid[1:])
        raise UnsafeCheckpointError('it refers to something that is not a storage')

    def load_reduce(self) -> None:
        args = self.stack.pop()
        self.stack[-1] = self._call(self.stack[-1], args)

    load_newobj = load_reduce

    def load_newobj_ex(self) -> None:
        named, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.append(self._call(Name('an object with named arguments') if named else cls, args))

    def _call(self, function: Any, args: Any) -> Any:
        if type(function) not in (Name, Object) or type(args) is not tuple:
            raise UnsafeCheckpointError(f'it calls a {type(function).__name__}')
        if type(function) is Object or function.path not in self.calls:
            return Object(function.path)
        return self._try(self.calls[function.path], function.path, args)

    def _try(self, function: Callable, path: str, args: tuple) -> Any:
        self.budget.spend(8 * len(args) + sum(map(size_of, args)))
        try:
            return function(*args)
        except (UnsafeCheckpointError, MemoryError):
            raise
        except Exception as error:  # whatever unexpected arguments make of a function
            return Object(path, why=str(error))

    def load_build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is OrderedDict and type(state) is dict and set(state) == {'_metadata'}:
            target._metadata = state['_metadata']  # versions of modules, beside a state dict
        elif type(target) is not Object or target.built is not None:
            raise UnsafeCheckpointError(f'it changes a {type(target).__name__}')
        elif target.path in self.states and target.why is None:
            self.budget.spend(sum(map(size_of, state)) if type(state) is tuple else 0)
            args = (target, state)
            self.stack[-1] = target.built = self._try(self.states[target.path], target.path, args)
        else:
            inner = sum(map(size_of, state)) if type(state) is tuple else 0
            self.budget.spend(size_of(state) + inner)
            target.keep(state)

    def _recall(self, place: int) -> None:
        value = self.memo[place]
        is_built = type(value) is Object and value.built is not None
        self.append(value.built if is_built else value)

    def load_binget(self) -> None:
        self._recall(self.read(1)[0])

    def load_long_binget(self) -> None:
        self._recall(struct.unpack('<I', self.read(4))[0])

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(struct.unpack('<Q', self.read(8))[0])))

    def load_append(self) -> None:
        self._add_to_list([self.stack.pop()])

    def load_appends(self) -> None:
        self._add_to_list(self.pop_mark())

    def _add_to_list(self, items: list) -> None:
        if type(target := self.stack[-1]) is list:
            target.extend(items)
        elif type(target) is not Object:
            raise UnsafeCheckpointError(f'it adds items to a {type(target).__name__}')

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict, Object):
            raise UnsafeCheckpointError(f'it sets items of a {type(target).__name__}')
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(target) is not Object:
                check_key(key, len(target))
                target[key] = value

    def load_additems(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if type(target) is not set:
            raise UnsafeCheckpointError(f'it adds members to a {type(target).__name__}')
        for item in items:
            check_key(item, len(target) + len(items))
        target.update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        for item in items:
            check_key(item, len(items))
        self.append(frozenset(items))


class Instructions(dict):
    def __missing__(self, code: int):
        raise UnsafeCheckpointError(f'it has the pickle instruction {bytes([code])!r}')


# Not in here: what is for text (protocols 0 and 1), extensions and buffers outside of the file.
PRICES = {
    **dict.fromkeys([pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.POP, pickle.POP_MARK], 1),
    **dict.fromkeys([pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.EMPTY_TUPLE], 8),
    **dict.fromkeys([pickle.BININT1, pickle.BINGET, pickle.LONG_BINGET], 8),
    **dict.fromkeys([pickle.APPEND, pickle.APPENDS, pickle.ADDITEMS], 8),
    **dict.fromkeys([pickle.SETITEM, pickle.SETITEMS, pickle.MARK], 16),
    **dict.fromkeys([pickle.BININT, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT], 40),
    **dict.fromkeys([pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.BINUNICODE8], 64),
    **dict.fromkeys([pickle.BINSTRING, pickle.SHORT_BINSTRING, pickle.BYTEARRAY8], 64),
    **dict.fromkeys([pickle.BINBYTES, pickle.SHORT_BINBYTES, pickle.BINBYTES8], 64),
    **dict.fromkeys([pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3], 64),
    **dict.fromkeys([pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.BINPUT], 96),
    **dict.fromkeys([pickle.LONG_BINPUT, pickle.MEMOIZE], 96),
    **dict.fromkeys([pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.BINPERSID], 192),
    **dict.fromkeys([pickle.EMPTY_SET, pickle.FROZENSET, pickle.REDUCE], 256),
    **dict.fromkeys([pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.BUILD], 256),
}


def _priced(load: Callable, price: int) -> Callable:
    def step(unpickler: InertUnpickler) -> None:
        unpickler.budget.spend(price)
        load(unpickler)

    return step


def _instructions() -> Instructions:
    own = vars(InertUnpickler)
    found = Instructions()
    for code, price in PRICES.items():
        load = pickle._Unpickler.dispatch[code[0]]
        found[code[0]] = _priced(own.get(load.__name__, load), price)
    return found


InertUnpickler.dispatch = _instructions()
