from abc import abstractmethod
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.arguments import check_pair
from beit_mm.datasets.transforms.transform import Transform


class BasePatchMask(Transform):
    """Base of the transforms that choose the patches which the encoder must not see.

    Writes mask (h, w) bool, True = masked. A subclass draws one mask in :meth:`sample`, which is
    called once per image.

    Args:
        grid: Patches per image as (h, w), or one number for a square: image size / patch size.
        num_masked: Patches to mask, in [1, h*w].
        mask_ratio: The same as a part of the grid, in (0, 1]; rounded to whole patches.
            Exactly one of ``num_masked`` and ``mask_ratio`` is given.
    """

    def __init__(
        self,
        grid: int | Sequence[int],
        num_masked: int | None = None,
        mask_ratio: float | None = None,
    ):
        self.name = type(self).__name__
        self.grid = check_pair(
            f'{self.name}.grid',
            grid,
            'a pair (h, w) of them; set it to image size / patch size, for example (14, 14) for '
            '224 / 16',
        )
        self.num_masked = self._check_num_masked(num_masked, mask_ratio)

    def _check_num_masked(self, num_masked, mask_ratio) -> int:
        h, w = self.grid
        if (num_masked is None) == (mask_ratio is None):
            raise UserError(
                f'{self.name}: num_masked={num_masked} and mask_ratio={mask_ratio}; '
                'give exactly one of the two'
            )
        if num_masked is not None:
            if not isinstance(num_masked, Integral) or not 0 < num_masked <= h * w:
                raise UserError(
                    f'{self.name}.num_masked={num_masked!r}: grid={self.grid} has {h * w} patches; '
                    f'set num_masked to an integer in [1, {h * w}]'
                )
            return int(num_masked)
        if not isinstance(mask_ratio, Real) or not 0 < mask_ratio <= 1:
            raise UserError(
                f'{self.name}.mask_ratio={mask_ratio!r}: expected a number in (0, 1]; '
                'give num_masked instead if you mean a number of patches'
            )
        if round(mask_ratio * h * w) == 0:
            raise UserError(
                f'{self.name}.mask_ratio={mask_ratio}: less than half a patch of grid={self.grid}; '
                f'set it to at least {1 / (h * w):.4f}'
            )
        return round(mask_ratio * h * w)

    @abstractmethod
    def sample(self) -> np.ndarray:
        """Draw one mask (h, w) bool, True = masked."""

    def transform(self, results: dict) -> dict:
        results['mask'] = self.sample()
        return results
