from collections.abc import Sequence

import numpy as np

PER_CLASS = 10


def spread(length: int, number: int) -> list[int]:
    """Return at most ``number`` places at equal distances; data sets are often sorted by class."""
    return np.linspace(0, length - 1, min(number, length)).round().astype(int).tolist()


def spread_over_classes(labels: Sequence[int], number: int) -> list[int]:
    """Return places of about ``number`` samples, as many of each class.

    Where there are too many classes for ten samples of each, some of the classes are taken.
    """
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    classes = sorted(places)
    parts = [places[classes[n]] for n in spread(len(classes), max(number // PER_CLASS, 2))]
    return [part[n] for part in parts for n in spread(len(part), max(number // len(parts), 2))]
