from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beit_mm.apis.results.picture_names import write_png
from beit_mm.apis.results.result import Result
from beit_mm.contracts import UserError
from beit_mm.visualization import grid, to_rgb


@dataclass
class Reconstructions(Result):
    """Images, and what a model makes of them. Pictures are float32 (N, H, W, C), black 0, white 1.

    Attributes:
        original: The tokenizer's view of the images.
        masked: The same with the patches gray that the model did not see; as ``original`` for a
            tokenizer, which sees them all.
        predicted: Decoded from the tokens that were predicted, and the true ones elsewhere.
        truth: Decoded from the true tokens: the best that a prediction can reach.
        mask: (N, h, w) bool, True = masked.
        predicted_ids, true_ids: The tokens (N, h, w) of ``predicted`` and ``truth``.
    """

    suffixes = ('.csv', '.parquet', '.npz')
    has_pictures = True
    per_image = (
        *('original', 'masked', 'predicted', 'truth'),
        *('mask', 'predicted_ids', 'true_ids'),
    )

    original: np.ndarray | None = None
    masked: np.ndarray | None = None
    predicted: np.ndarray | None = None
    truth: np.ndarray | None = None
    mask: np.ndarray | None = None
    predicted_ids: np.ndarray | None = None
    true_ids: np.ndarray | None = None

    def table(self) -> dict[str, list]:
        """Return for each image the masked patches, the right ones among them, and errors.

        ``mse`` compares ``predicted`` with ``original``.
        """
        found = dict(file=self.files, masked=[], right=[])
        for index in range(len(self)):
            mask = self.mask[index]
            found['masked'].append(int(mask.sum()))
            right = self.predicted_ids[index] == self.true_ids[index]
            found['right'].append(int(right[mask].sum()))
            if self.predicted is not None:
                error = np.square(self.predicted[index] - self.original[index]).mean()
                found.setdefault('mse', []).append(float(error))
        return found

    def save_pictures(self, folder: Path, names: Mapping[str, str], overwrite: bool) -> None:
        """Write the four pictures of each image side by side."""
        if self.predicted is None:
            raise UserError(
                'The tokenizer cannot decode, so there are no pictures; save as .npz or .csv'
            )
        titles = ('original', 'masked', 'predicted', 'truth')
        for index, file in enumerate(self.files):
            row = [shown(getattr(self, title)[index]) for title in titles]
            zoom = max(128 // max(row[0].shape[:2]), 1)
            write_png(
                folder / f'{names[file]}.png', grid([row], titles=titles, zoom=zoom), overwrite
            )


def shown(image: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, C) in [0, 1] as uint8 RGB."""
    return to_rgb(image.transpose(2, 0, 1)[None])[0]
