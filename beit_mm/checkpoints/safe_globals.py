"""What a checkpoint may name besides tensors and plain Python types: numpy data, log histories.

PyTorch's ``weights_only`` unpickler calls nothing but what stands on a list. Genuine checkpoints
of MMEngine need a few entries, for the log scalars that they carry. Each entry here is either a
class without behavior of its own, or a function of this file that builds it from data and checks
the data first. ``getattr``, which these checkpoints call for the methods of their histories, is
answered for these methods alone, and by their names.
"""

from argparse import Namespace

import numpy as np
from mmengine.logging import HistoryBuffer

from beit_mm.contracts.errors import UserError

PLAIN_KINDS = 'biufcSU?'  # no objects, no structures


class StoredHistory(HistoryBuffer):
    """Placeholder of a HistoryBuffer, which becomes one when its state has been checked."""

    def __init__(self, *args, **kwargs):
        pass

    def __setstate__(self, state: dict) -> None:
        names = ('max_length', '_log_history', '_count_history')
        state = {name: value for name, value in state.items() if name != 'statistics_methods'}
        if set(state) - set(names) or not isinstance(state.get('max_length'), int):
            raise UserError(f'A log history in the checkpoint has the fields {sorted(state)}')
        for name in names[1:]:
            if type(state.get(name)) is not np.ndarray:
                raise UserError(f'{name} of a log history in the checkpoint is not an array')
        self.__dict__.update(state)
        self.__class__ = HistoryBuffer
        self._set_default_statistics()


def name_of_statistic(cls: type, name: str) -> str:
    """Return ``name``, which is then ignored, for ``getattr(HistoryBuffer, name)`` in the file."""
    if cls is not StoredHistory or name not in ('min', 'max', 'current', 'mean'):
        raise UserError(f'The checkpoint asks for the attribute {name!r:.40}')
    return name


def plain_dtype(code: str, *_) -> np.dtype:
    """Make a dtype of numbers or text; the arguments that pickle adds say align and copy."""
    dtype = np.dtype(code if isinstance(code, str) else code.decode('ascii'))
    if dtype.kind not in PLAIN_KINDS:
        raise UserError(f'An array of dtype {dtype} in the checkpoint: expected plain numbers')
    return np.dtype(dtype.str, copy=True)


def empty_array(subtype: type, shape: tuple, code: bytes) -> np.ndarray:
    """Make the array that pickle starts with; shape, dtype and data follow as its state."""
    return np.empty(0, np.uint8)


def no_bytes() -> bytes:
    """Return b'', which protocol 2 writes as a call without arguments (an empty array's data)."""
    return b''


def plain_scalar(dtype: np.dtype, data: bytes) -> np.generic:
    """Make a number of its bytes."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in PLAIN_KINDS:
        raise UserError(f'A number of dtype {dtype} in the checkpoint: expected a plain one')
    if isinstance(data, str):
        data = data.encode('latin1')
    return np.frombuffer(data, dtype, count=1)[0]


def safe_globals() -> list[tuple]:
    """Return pairs for torch.serialization: what is called, and the name in the checkpoint."""
    allowed = [
        (StoredHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
        (plain_dtype, 'numpy.dtype'),
        (np.ndarray, 'numpy.ndarray'),
        (no_bytes, 'builtins.bytes'),
        (Namespace, 'argparse.Namespace'),  # the original and timm store their options so
        (name_of_statistic, 'builtins.getattr'),
    ]
    for core in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed += [(empty_array, f'{core}._reconstruct'), (plain_scalar, f'{core}.scalar')]
    # The state of a dtype is its byte order; pickle sets it on an object of these classes.
    codes = ['?', *np.typecodes['AllInteger'], *np.typecodes['AllFloat'], 'S1', 'U1']
    classes = {type(np.dtype(code)) for code in codes}
    return allowed + [(cls, f'numpy.dtypes.{cls.__name__}') for cls in classes]
