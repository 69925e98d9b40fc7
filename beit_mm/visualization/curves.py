import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

COLOURS = [(31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14)]


def read_scalars(work_dir: str | Path, name: str = 'loss') -> tuple[list[int], list[float]]:
    """Steps and values of ``name`` from all runs in an MMEngine work dir, later runs winning."""
    values: dict[int, float] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if name in entry and 'step' in entry:
                values[int(entry['step'])] = float(entry[name])
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    size: tuple[int, int] = (420, 260),
) -> np.ndarray:
    """Named curves (x, y) in one diagram -> uint8 RGB (size[1], size[0], 3)."""
    width, height = size
    picture = np.full((height, width, 3), 255, np.uint8)
    left, top, right, bottom = 52, 30, width - 12, height - 28
    cv2.rectangle(picture, (left, top), (right, bottom), (200, 200, 200), 1)
    _text(picture, title, (left, 18))
    shown = {name: curve for name, curve in curves.items() if len(curve[0])}
    if not shown:
        return picture
    xs, ys = (np.concatenate([np.asarray(c[i], float) for c in shown.values()]) for i in (0, 1))
    (x0, x1), (y0, y1) = _range(xs), _range(ys[np.isfinite(ys)])
    for text, origin in (
        (f'{y1:.3g}', (6, top + 10)),
        (f'{y0:.3g}', (6, bottom)),
        (f'{x0:.0f}', (left, height - 10)),
        (f'{x1:.0f}', (right - 36, height - 10)),
    ):
        _text(picture, text, origin)
    for number, (name, (x, y)) in enumerate(shown.items()):
        colour = COLOURS[number % len(COLOURS)]
        px = left + (np.asarray(x, float) - x0) / (x1 - x0) * (right - left)
        py = bottom - (np.asarray(y, float) - y0) / (y1 - y0) * (bottom - top)
        points = np.stack([px, py], 1)[np.isfinite(py)].round().astype(np.int32)
        cv2.polylines(picture, [points], False, colour, 2, cv2.LINE_AA)
        if len(shown) > 1:
            _text(picture, name, (right - 130, top + 16 + 15 * number), colour)
    return picture


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _text(picture: np.ndarray, text: str, origin: tuple[int, int], colour=(60, 60, 60)) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
