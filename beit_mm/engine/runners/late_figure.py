from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from operator import attrgetter
from typing import Any

from mmengine.visualization import Visualizer

DPI = 100.0  # matplotlib's own


class LateFigure:
    """Figure, canvas or axes of a Visualizer, which are made when a picture is drawn.

    Most runs draw none, and matplotlib takes 0.3 s to import.
    """

    def __init__(self, make, part: int):
        self._make, self._part = make, part

    @classmethod
    @contextmanager
    def in_visualizers(cls) -> Iterator[None]:
        """Give these to the Visualizers that are built inside of this context."""
        build = Visualizer._initialize_fig

        def late(visualizer: Visualizer, settings: dict) -> tuple:
            made: list[tuple] = []

            def make() -> tuple:
                if not made:
                    made.append(build(visualizer, dict(dpi=DPI, **settings)))
                return made[0]

            return tuple(cls(make, part) for part in range(3))

        Visualizer._initialize_fig = late
        try:
            yield
        finally:
            Visualizer._initialize_fig = build

    def get_dpi(self) -> float:
        return DPI

    @cached_property
    def _real(self) -> Any:
        return self._make()[self._part]

    def __getattr__(self, name: str) -> Any:
        return attrgetter(name)(self._real)
