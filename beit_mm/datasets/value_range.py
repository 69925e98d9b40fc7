import logging
from collections.abc import Mapping

import numpy as np
import torch
from mmengine.logging import print_log

from beit_mm.datasets.transforms.transform import Transform


class WatchRange(Transform):
    """Warn once of an image whose values are far outside of what the model expects.

    Changes nothing. All workers of a process share the once. uint8 is not looked at.

    Args:
        limits: For keys of the results, such as ``img``, the lowest and highest value.
    """

    def __init__(self, limits: Mapping[str, tuple[float, float]]):
        self.limits = dict(limits)
        self.told = torch.zeros(1, dtype=torch.bool).share_memory_()

    def transform(self, results: dict) -> dict:
        for key, (least, most) in self.limits.items():
            img = results.get(key)
            if (
                not isinstance(img, np.ndarray)
                or img.dtype == np.uint8
                or self.told
                or not img.size
            ):
                continue
            low, high = img.min(), img.max()
            if not (least <= low and high <= most):  # NaN is neither
                self.told[0] = True
                print_log(
                    f'image {results.get("img_path")!r} has values from {low:g} to {high:g} ({key})'
                    f', far outside of [{least:g}, {most:g}], which data_preprocessor brings '
                    'to a multiple of what the model expects. If they mean no data, name them '
                    '(LoadMultiBandImage(nodata=...)); clip outliers (window=...); or correct '
                    'mean, std and token_scale. Told once',
                    logger='current',
                    level=logging.WARNING,
                )
        return results
