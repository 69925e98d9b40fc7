from dataclasses import dataclass

import numpy as np

from beit_mm.apis.results.result import Result
from beit_mm.contracts import UserError


@dataclass
class Embeddings(Result):
    """Features of images.

    Attributes:
        features: float32, (N, C), or (N, h, w, C) of ``pool='patches'``.
    """

    per_image = ('features',)

    features: np.ndarray | None = None

    def table(self) -> dict[str, list]:
        """Return ``file`` and a column for each channel."""
        if self.features is not None and self.features[0].ndim != 1:
            raise UserError(
                "Features of patches make no table; save them as .npz, or take pool='mean'"
            )
        columns = [] if self.features is None else self.features.T
        return dict(
            file=self.files, **{f'f{n}': column.tolist() for n, column in enumerate(columns)}
        )
