import random

import numpy as np

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class BandJitter(Transform):
    """Change brightness and contrast at random, for any number and meaning of bands.

    Reads and writes img (H, W, C) or (H, W). A value v of a band with mean m becomes
    ``b * (m + c * (v - m))`` with b uniform in [1 - brightness, 1 + brightness] and c in
    [1 - contrast, 1 + contrast]. Integers are rounded and clipped to their range, floating point
    values are not clipped; the type is kept.

    Args:
        brightness, contrast: In [0, 1].
        per_band: Draw b and c for each band; otherwise once, which keeps ratios between bands.
    """

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4, per_band: bool = False):
        for name, value in (('brightness', brightness), ('contrast', contrast)):
            if not 0 <= value <= 1:
                raise UserError(f'BandJitter.{name}={value!r}: expected a number in [0, 1]')
        self.brightness = brightness
        self.contrast = contrast
        self.per_band = per_band

    def transform(self, results: dict) -> dict:
        img = results['img']
        bands = img.shape[2] if img.ndim == 3 and self.per_band else 1
        gain = np.array([1 + random.uniform(-1, 1) * self.brightness for _ in range(bands)])
        spread = np.array([1 + random.uniform(-1, 1) * self.contrast for _ in range(bands)])
        values = img.astype(np.float64)
        mean = values.mean((0, 1))
        values = gain * (mean + spread * (values - mean))
        if img.dtype.kind in 'iu':
            limits = np.iinfo(img.dtype)
            values = values.round().clip(limits.min, limits.max)
        results['img'] = values.astype(img.dtype)
        return results
