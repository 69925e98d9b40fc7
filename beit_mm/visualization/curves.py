import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

COLORS = [(31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (255, 127, 14)]


def read_scalars(work_dir: str | Path, name: str = 'loss') -> tuple[list[int], list[float]]:
    """Steps and values of ``name`` from all runs in an MMEngine work dir, later runs winning."""
    values: dict[int, float] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the last line of a run that was killed
            if name in entry and 'step' in entry:
                values[int(entry['step'])] = float(entry[name])
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def draw_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    size: tuple[int, int] = (420, 260),
) -> np.ndarray:
    """Named curves (x, y) in one diagram -> uint8 RGB (size[1], size[0], 3).

    A value that is not finite is a gap in its curve, and a point between two gaps a dot.
    """
    width, height = size
    picture = np.full((height, width, 3), 255, np.uint8)
    left, top, right, bottom = 52, 30, width - 12, height - 28
    cv2.rectangle(picture, (left, top), (right, bottom), (200, 200, 200), 1)
    _text(picture, title, (left, 18))
    shown = {name: np.stack([x, y], 1).astype(float) for name, (x, y) in curves.items() if len(x)}
    finite = [points[np.isfinite(points).all(1)] for points in shown.values()]
    if not sum(map(len, finite)):
        return picture
    (x0, x1), (y0, y1) = map(_range, np.concatenate(finite).T)
    for text, origin in (
        (f'{y1:.3g}', (6, top + 10)),
        (f'{y0:.3g}', (6, bottom)),
        (f'{x0:.0f}', (left, height - 10)),
        (f'{x1:.0f}', (right - 36, height - 10)),
    ):
        _text(picture, text, origin)
    scale = np.array([(right - left) / (x1 - x0), (top - bottom) / (y1 - y0)])
    for number, (name, points) in enumerate(shown.items()):
        color = COLORS[number % len(COLORS)]
        for part in _unbroken((points - (x0, y0)) * scale + (left, bottom)):
            if len(part) == 1:
                cv2.circle(picture, part[0].tolist(), 2, color, -1, cv2.LINE_AA)
            cv2.polylines(picture, [part], False, color, 2, cv2.LINE_AA)
        if len(shown) > 1:
            _text(picture, name, (right - 130, top + 16 + 15 * number), color)
    return picture


def _unbroken(points: np.ndarray) -> list[np.ndarray]:
    """(n, 2) -> the stretches between points that are not finite, as whole pixels."""
    finite = np.isfinite(points).all(1)
    edges = np.flatnonzero(np.diff(finite)) + 1
    parts = np.split(points, edges)
    return [
        part.round().astype(np.int32)
        for part, shown in zip(parts, np.split(finite, edges), strict=True)
        if shown.any()
    ]


def _range(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _text(picture: np.ndarray, text: str, origin: tuple[int, int], color=(60, 60, 60)) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
