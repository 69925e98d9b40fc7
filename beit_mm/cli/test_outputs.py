"""What tools/test.py writes and prints of an evaluation."""

import csv
import io
import json
import math
import pickle
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from beit_mm.checkpoints.store import write_atomically
from beit_mm.cli.arguments import refuse_existing
from beit_mm.contracts import UserError
from beit_mm.evaluation.per_class_results import predicted_labels

SUFFIXES = ('.json', '.csv', '.pkl', '.pickle')
PICKLES = ('.pkl', '.pickle')


def plan_outputs(paths: Sequence[Path], item: str | None, overwrite: bool) -> dict[Path, str]:
    """Return which file gets the ``metrics`` and which the predictions (``pred``).

    Raises:
        UserError: The suffix of a file names no format, or the file exists.
    """
    for path in paths:
        refuse_existing('--out', path, overwrite)
        if path.suffix not in SUFFIXES:
            raise UserError(f'--out {path}: expected a file that ends in {", ".join(SUFFIXES)}')
    if item and not paths:
        raise UserError('--out-item says what --out writes; give a file with --out')
    return {path: item or ('pred' if path.suffix in PICKLES else 'metrics') for path in paths}


def write_metrics(path: Path, metrics: Mapping, rows: Sequence[Mapping], images: int) -> None:
    """Write the metrics, and the results of each class if there are any.

    JSON: the metrics, ``images`` with their number, ``written`` with the local time, and
    ``per_class`` with an object for each class. CSV: a line for each number,
    ``metric,class,value``. Pickle: the metrics alone, as tools of mmpretrain write them.
    """
    plain = {name: to_json(value) for name, value in metrics.items()}
    if path.suffix in PICKLES:
        write_atomically(path, pickle.dumps(dict(metrics)))
    elif path.suffix == '.json':
        plain['images'] = images
        plain['written'] = time.strftime('%Y/%m/%d %H:%M:%S')  # as in logs
        if rows:
            plain['per_class'] = to_json(rows)
        _write_json(path, plain)
    else:
        lines = [['metric', 'class', 'value']]
        lines += [[name, None, value] for name, value in plain.items()]
        for row in rows:
            lines += [[name, row['class'], row[name]] for name in row if name != 'class']
        write_atomically(path, _csv(lines))


def write_predictions(path: Path, predictions: Sequence[Mapping], classes: Sequence[str]) -> None:
    """Write a dict for each sample as pickle, or a line for each image of a classification.

    Raises:
        UserError: A format of text is asked for predictions that are no classes of images.
    """
    if path.suffix in PICKLES:
        write_atomically(path, pickle.dumps(list(predictions)))
        return
    rows = [_as_row(path, sample, classes) for sample in predictions]
    if path.suffix == '.json':
        _write_json(path, to_json(rows))
    else:
        lines = [[*rows[0]], *(row.values() for row in rows)] if rows else [[]]
        write_atomically(path, _csv(lines))


def table_of(rows: Sequence[Mapping]) -> str:
    """Return the results of each class as text, a line for each."""
    lines = [[*rows[0]]]
    for row in rows:
        lines.append([_text(value) for value in row.values()])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def to_json(value: Any) -> Any:
    """Return a value of plain Python that JSON knows; NaN and infinity become None."""
    if isinstance(value, np.ndarray | np.generic | Tensor):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): to_json(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_json(path: Path, value: Any) -> None:
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + '\n').encode())


def _as_row(path: Path, sample: Mapping, classes: Sequence[str]) -> dict[str, Any]:
    found = predicted_labels(sample)
    if found is None:
        raise UserError(f'--out {path}: predictions other than classes of images go to a .pkl file')
    truth = sample['gt_label'].ravel().tolist() if 'gt_label' in sample else []
    scores = sample['pred_score'].ravel().tolist() if 'pred_score' in sample else []
    found = found.tolist()
    return dict(
        img_path=sample.get('img_path'),
        gt_label=_one(truth),
        gt_class=_one([_name(number, classes) for number in truth]),
        pred_label=_one(found),
        pred_class=_one([_name(number, classes) for number in found]),
        pred_score=_one([scores[number] for number in found if number < len(scores)]),
    )


def _one(values: list) -> Any:
    """Return the only value, None for none, several as text."""
    return ' '.join(map(str, values)) if len(values) > 1 else next(iter(values), None)


def _name(number: int, classes: Sequence[str]) -> str:
    return classes[number] if number < len(classes) else str(number)


def _text(value: Any) -> str:
    return '-' if value is None else f'{value:.2f}' if isinstance(value, float) else str(value)


def _csv(lines: Iterable[Iterable]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows(lines)  # None is an empty field
    return text.getvalue().encode()
