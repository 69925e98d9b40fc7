import logging

import numpy as np
import torch
from mmengine.logging import print_log

from beit_mm.datasets.transforms.transform import Transform


class WatchRange(Transform):
    """Warn once, in all workers of a process, of an image with values outside of ``limits``.

    These are for keys of the results, such as ``img``. Changes nothing; uint8 is not looked at.
    """

    def __init__(self, limits: dict[str, tuple[float, float]]):
        self.limits = limits
        self.told = torch.zeros(1, dtype=torch.bool).share_memory_()

    def transform(self, results: dict) -> dict:
        for key, (least, most) in self.limits.items():
            img = results.get(key)
            if self.told or not isinstance(img, np.ndarray) or img.dtype == np.uint8:
                continue
            if not least <= (low := img.min()) <= img.max() <= most:
                self.told[0] = True
                values = f'values from {low:g} to {img.max():g}'
                advice = 'Name what means no data (LoadMultiBandImage(nodata=...)), clip outliers '
                advice += '(window=...), or correct mean, std and token_scale of data_preprocessor'
                if low == img.max():
                    values = f'the value {low:g} alone'
                    advice = 'Remove images without content (tools/check_dataset.py finds them)'
                print_log(
                    f'image {results.get("img_path")!r} ({key}) has {values}, far outside of '
                    f'[{least:g}, {most:g}]. {advice}. Told once',
                    logger='current',
                    level=logging.WARNING,
                )
        return results
