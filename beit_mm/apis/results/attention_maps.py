from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from beit_mm.apis.results.picture_names import write_png
from beit_mm.apis.results.result import Result
from beit_mm.visualization import grid


@dataclass
class AttentionMaps(Result):
    """What one token attends to; over the patches and the class token each head sums to 1.

    Attributes:
        maps: Attention to the patches, (N, heads, h, w).
        to_class: Attention to the class token, (N, heads).
        query: Patch (row, column) that attends; None for the class token.
    """

    suffixes = ('.npz',)
    has_pictures = True
    per_image = ('maps', 'to_class')

    maps: np.ndarray | None = None
    to_class: np.ndarray | None = None
    query: tuple[int, int] | None = None

    @classmethod
    def shared(cls, model, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return dict(query=arguments.get('query'))

    def save_pictures(self, folder: Path, names: Mapping[str, str], overwrite: bool) -> None:
        """Write the maps of all heads side by side, each brightest where it attends most."""
        for file, maps in zip(self.files, self.maps, strict=True):
            tops = maps.max((1, 2), keepdims=True)
            gray = (maps / np.maximum(tops, 1e-12) * 255).round().astype(np.uint8)
            rows = [[np.repeat(head[..., None], 3, axis=2) for head in gray]]
            titles = [f'head {number}' for number in range(len(gray))]
            zoom = max(96 // max(maps.shape[1:]), 1)
            write_png(
                folder / f'{names[file]}.png', grid(rows, titles=titles, zoom=zoom), overwrite
            )
