import random

import numpy as np

from beit_mm.datasets.transforms.base_patch_mask import BasePatchMask
from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomMask(BasePatchMask):
    """Mask exactly ``num_masked`` patches, each set of them equally likely.

    The ablation of blockwise masking (BEiT paper, Table 4). Arguments as in
    :class:`BasePatchMask`. Writes mask (h, w) bool.
    """

    def sample(self) -> np.ndarray:
        h, w = self.grid
        mask = np.zeros(h * w, dtype=bool)
        mask[random.sample(range(h * w), self.num_masked)] = True
        return mask.reshape(h, w)
