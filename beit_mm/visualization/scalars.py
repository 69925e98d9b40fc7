import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from beit_mm.visualization.continued_vis_backend import ContinuedVisBackend


def read_log(work_dir: str | Path) -> list[dict[str, Any]]:
    """Return the logged steps of all runs in a work dir, in order.

    Each has ``kind`` ('train' or 'val'), ``iter``, the training iterations before it, and scalars.
    Where a run begins before the last step of an earlier one, what that had after it is left out,
    as are lines that are cut.
    """
    folder = Path(work_dir)
    steps: dict[tuple[int, bool], dict] = {}
    last = 0  # step of a training
    whole = folder / ContinuedVisBackend.file_name
    for path in [whole] if whole.is_file() else sorted(folder.glob('*/vis_data/scalars.json')):
        if not path.is_file():  # a pipe, which would never end
            continue
        before = 0
        for entry in _lines(path):
            is_val = entry.get('kind', '') == 'val' or not {'kind', 'iter', 'loss'} & set(entry)
            # MMEngine does not say the iteration of a validation
            number = entry.get('iter', before if is_val else entry.get('step'))
            if not isinstance(number, int | float) or not math.isfinite(number):
                continue
            before = int(number)
            if not is_val and before < last:  # of another run
                steps = {key: step for key, step in steps.items() if key[0] < before}
            last = last if is_val else before
            step = steps.setdefault((before, is_val), {})
            step |= entry | dict(kind='val' if is_val else 'train', iter=before)
    return [steps[key] for key in sorted(steps)]


def read_scalars(work_dir: str | Path, name: str = 'loss') -> tuple[list[int], list[float]]:
    """Return iterations and values of ``name`` from all runs in an MMEngine work dir."""
    return curve_of(read_log(work_dir), name)


def curve_of(log: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Return iterations and values of one scalar of :func:`read_log`."""
    found = {e['iter']: float(e[name]) for e in log if isinstance(e.get(name), int | float)}
    return [*found], [*found.values()]


def _lines(path: Path) -> Iterator[dict]:
    """Yield the entries of a file of curves.

    Damaged lines are left out, with a warning if there are any before the last one, which a killed
    run may have cut.
    """
    lines, damaged = path.read_bytes().splitlines(), []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            damaged.append(number)
            continue
        if isinstance(entry, dict):
            yield entry
        else:
            damaged.append(number)
    if damaged and damaged != [len(lines)]:
        print_log(
            f'{path}: {len(damaged)} damaged lines are left out, the first is {damaged[0]}',
            logger='current',
            level=logging.WARNING,
        )
