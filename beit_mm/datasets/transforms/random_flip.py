from bisect import bisect
from itertools import accumulate

import numpy as np
from mmcv import transforms

from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class RandomFlip(transforms.RandomFlip):
    """mmcv's RandomFlip and its draws, without NumPy's ``choice``, which takes long for one."""

    def _choose_direction(self) -> str | None:
        if '_cache_enabled' in vars(self):  # one draw for several images
            return super()._choose_direction()
        names = [self.direction] if isinstance(self.direction, str) else self.direction
        one = isinstance(self.prob, float)
        parts = [self.prob / len(names)] * len(names) if one else self.prob
        place = bisect([*accumulate(parts)], np.random.random_sample())
        return names[place] if place < len(names) else None
