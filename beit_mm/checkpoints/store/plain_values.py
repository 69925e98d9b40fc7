"""Checkpoints of tensors and plain Python values, which every safe reader takes."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

PLAIN = (str, int, float, complex, bool, bytes, type(None), torch.dtype, torch.Size, torch.device)


def to_plain(value: Any, where: str = 'checkpoint') -> Any:
    """Turn NumPy's numbers and arrays, paths and odd containers into plain values.

    Raises:
        TypeError: No plain value stands for something; the message says where it is.
    """
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist() if value.dtype.kind in 'OUSV' else torch.from_numpy(value.copy())
    if isinstance(value, PLAIN):
        kind = next(kind for kind in PLAIN if isinstance(value, kind))
        exact = type(value) in (*PLAIN, bool)
        return value if exact or kind in PLAIN[-3:] else kind(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, OrderedDict) and hasattr(value, '_metadata'):
        return value  # a state dict, whose versions of modules are kept
    if isinstance(value, Mapping):
        return {to_plain(key): to_plain(item, f'{where}.{key}') for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = [to_plain(item, f'{where}[{i}]') for i, item in enumerate(value)]
        return tuple(items) if isinstance(value, tuple) else items
    raise TypeError(
        f'{where} is a {type(value).__module__}.{type(value).__qualname__}, which a safe reader '
        'refuses; save tensors, numbers, strings, lists and dicts'
    )


def plain_message_hub(state: dict, max_history: int) -> dict:
    """Return the state of a MessageHub with the end of each HistoryBuffer as two tensors."""
    scalars = {}
    for name, buffer in state['log_scalars'].items():
        values, counts = (np.asarray(part, float)[-max_history:] for part in buffer.data)
        scalars[name] = dict(
            values=torch.from_numpy(values.copy()), counts=torch.from_numpy(counts.copy())
        )
    info = {}
    for name, value in state['runtime_info'].items():
        try:
            info[name] = to_plain(value, name)
        except TypeError:
            continue  # what a metric left there for the log
    flags = state['resumed_keys'].items()
    kept = {name: flag for name, flag in flags if name in scalars or name in info}
    return dict(log_scalars=scalars, runtime_info=info, resumed_keys=kept)


def restored_message_hub(state: dict, max_history: int) -> dict:
    """Return what ``MessageHub.load_state_dict`` takes; MMEngine's own form passes unchanged."""
    scalars = {}
    for name, entry in state['log_scalars'].items():
        if isinstance(entry, Mapping):
            values, counts = (entry[key][-max_history:].tolist() for key in ('values', 'counts'))
            entry = HistoryBuffer(values, counts, max_length=max_history)
        scalars[name] = entry
    return dict(state, log_scalars=scalars)
