"""What a checkpoint tells of its training beside the description: data, length, metrics."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import HistoryBuffer
from torch import Tensor

from beit_mm.checkpoints import peek, read_checkpoint
from beit_mm.checkpoints.description.stored import meta_of
from beit_mm.visualization import read_log

LENGTH = ('epoch', 'iter', 'seed', 'time')
DATA = ('type', 'data_root', 'ann_file')
VALIDATED = ('val/', 'test/')


def read_run(source: str) -> dict[str, dict]:
    """Return ``data``, ``length`` and ``metrics`` of a checkpoint file, without what it lacks.

    The text of its config is parsed and not run; only words and numbers of it are taken.
    """
    try:
        checkpoint, text = read_checkpoint(source), config_text(source)
    except (OSError, ValueError):
        return {}
    meta = meta_of(checkpoint)
    length = {name: meta[name] for name in LENGTH if isinstance(meta.get(name), int | str)}
    metrics = _validation_of(Path(source), length.get('iter'))
    if not metrics:
        last = _metrics(_mapping(checkpoint, 'message_hub'))
        metrics = {f'{name} (last before this file)': value for name, value in last.items()}
    data = {} if text is None else _data(text)
    found = dict(data=data, length=length, metrics=metrics)
    return {name: facts for name, facts in found.items() if facts}


def config_text(source: str) -> str | None:
    """Return the text of the config, which reading the weights leaves out."""
    meta = meta_of(peek(source))
    text = meta.get('cfg', meta.get('config'))
    return text if isinstance(text, str) else None


def _validation_of(file: Path, iteration: Any) -> dict[str, float]:
    """Return the validation of a checkpoint by the curves beside it; it came after the saving."""
    if not file.is_file() or not isinstance(iteration, int):
        return {}
    lines = [line for line in read_log(file.parent) if line['kind'] == 'val']
    line = next((line for line in lines if line['iter'] == iteration), {})
    left_out = ('iter', 'time', 'data_time', 'step')
    numbers = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in left_out}
    return {f'val/{name}': float(value) for name, value in numbers.items()}


def _metrics(hub: Mapping) -> dict[str, float]:
    """Return the last value of each metric of the validation."""
    found = {}
    for name, history in _mapping(hub, 'log_scalars').items():
        is_metric = isinstance(name, str) and name.startswith(VALIDATED)
        if not is_metric or name.endswith('time'):
            continue
        values = history.data[0] if isinstance(history, HistoryBuffer) else ()
        if isinstance(history, Mapping):  # as a checkpoint of this package stores it
            values = history.get('values')
        if isinstance(values, Tensor | np.ndarray) and values.ndim == 1 and len(values):
            found[name] = float(values[-1])
    return found


def _data(text: str) -> dict[str, Any]:
    """Return what the config's training data set is called and where it was."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if [t.id for t in targets if isinstance(t, ast.Name)] == ['train_dataloader']:
            return dict(_constants(node.value))
    return {}


def _constants(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Yield the options of the innermost data set: MMEngine writes dicts as calls of dict."""
    options = {word.arg: word.value for word in node.keywords} if isinstance(node, ast.Call) else {}
    if 'dataset' in options:
        yield from _constants(options['dataset'])
        return
    for name in DATA:
        value = options.get(name)
        if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
            yield name, value.value


def _mapping(value: Any, name: str) -> Mapping:
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}
