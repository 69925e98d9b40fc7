from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from beit_mm.apis.results.result import Result
from beit_mm.contracts.target import tokenizer_of


@dataclass
class Tokens(Result):
    """Visual tokens of images.

    Attributes:
        ids: (N, h, w), in [0, vocab_size).
        vocab_size: Number of ids.
    """

    per_image = ('ids',)

    ids: np.ndarray | None = None
    vocab_size: int = 0

    @classmethod
    def shared(cls, model, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(vocab_size=tokenizer_of(model.module)[0].vocab_size)

    def table(self) -> dict[str, list]:
        """Return the size of each grid, and its ids row by row."""
        grids = [] if self.ids is None else self.ids
        return dict(
            file=self.files,
            height=[grid.shape[0] for grid in grids],
            width=[grid.shape[1] for grid in grids],
            ids=[grid.flatten().tolist() for grid in grids],
        )
