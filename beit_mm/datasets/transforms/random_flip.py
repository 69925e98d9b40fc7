from bisect import bisect
from itertools import accumulate

import numpy as np
from mmcv import transforms
from mmcv.transforms.utils import cache_randomness

from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(transforms.RandomFlip):
    """mmcv's RandomFlip and its draws, without NumPy's ``choice``, which takes long for one.

    Args:
        prob, direction, swap_seg_labels: As in mmcv's RandomFlip.
    """

    _methods_with_randomness = []  # cache_randomness adds to this list, else to mmcv's

    @cache_randomness
    def _choose_direction(self) -> str | None:
        names = [self.direction] if isinstance(self.direction, str) else self.direction
        one = isinstance(self.prob, float)
        parts = [self.prob / len(names)] * len(names) if one else self.prob
        place = bisect([*accumulate(parts)], np.random.random_sample())
        return names[place] if place < len(names) else None
