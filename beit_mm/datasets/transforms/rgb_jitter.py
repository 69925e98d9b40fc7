from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.arguments import check_range
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

NAMES = ('brightness', 'contrast', 'saturation', 'hue')  # in torchvision's order
LEVELS = np.arange(256)
CUT_OFF = -0.49  # makes of rounding, which OpenCV does, cutting off, which Pillow does


@TRANSFORMS.register_module()
class RGBJitter(Transform):
    """Change brightness, contrast and saturation of an image, in random order.

    Reads and writes img, (H, W, 3) uint8 in BGR. Order, ranges and pixels are those of
    torchvision's ColorJitter without hue on a Pillow image (unilm's ``datasets.py:34``), bit for
    bit, and with the same seed those of mmpretrain's, which takes twice as long.

    Args:
        brightness, contrast, saturation: Factors are drawn from [1 - value, 1 + value], none below
            0, or from a range (min, max); 0 for no change.
    """

    def __init__(
        self,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
    ):
        self.brightness = _check_factors('brightness', brightness)
        self.contrast = _check_factors('contrast', contrast)
        self.saturation = _check_factors('saturation', saturation)

    def transform(self, results: dict) -> dict:
        if results.get('img') is None:
            raise UserError("RGBJitter: no 'img' in the results; put LoadImageFromFile before it")
        check_colors(results['img'])
        results['img'] = adjust_colors(results['img'], self.draw())
        return results

    def draw(self) -> list[tuple[str, float]]:
        """Draw the names of the changes in their order, with their factors."""
        order = np.random.permutation(len(NAMES))  # torchvision draws a place for hue as well
        ranges = dict(zip(NAMES, (self.brightness, self.contrast, self.saturation), strict=False))
        factors = {n: np.random.uniform(*r) for n, r in ranges.items() if r != (1.0, 1.0)}
        return [(NAMES[n], factors[NAMES[n]]) for n in order if NAMES[n] in factors]


def check_colors(img: np.ndarray) -> None:
    """Raise a UserError for an image whose colors cannot be changed."""
    if img.dtype != np.uint8 or img.ndim != 3 or img.shape[2] != 3:
        raise UserError(
            f'RGBJitter: img is {img.dtype} {img.shape}; expected uint8 (H, W, 3), as '
            'LoadImageFromFile makes it. BandJitter changes images of other types and channels'
        )


def adjust_colors(img: np.ndarray, changes: Sequence[tuple[str, float]]) -> np.ndarray:
    """Return an image (H, W, 3) in BGR after ``changes``, as Pillow's ImageEnhance makes them."""
    for name, factor in changes:
        if name == 'saturation':
            picture = _to_pillow(img)
            plane = picture.convert('L')
            picture = Image.blend(Image.merge('RGB', [plane] * 3), picture, factor)
            img = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)
        else:
            gray = _mean_gray(img) if name == 'contrast' else 0
            # Image.blend calculates in single precision and cuts off the fraction.
            levels = np.float32(factor) * (LEVELS - gray).astype(np.float32) + gray
            img = cv2.LUT(img, levels.clip(0, 255).astype(np.uint8))
    return img


def adjust_alike(
    views: Sequence[np.ndarray], changes: Sequence[tuple[str, float]], seen: np.ndarray
) -> list[np.ndarray]:
    """Return images (H, W, 3) after ``changes``, the contrast around the mean gray of ``seen``.

    It takes OpenCV for what adjust_colors does, whose values differ by rounding.
    """
    parts = [part.reshape(-1, 3) for part in (seen, *views)]
    pixels = np.concatenate(parts)[None]
    for name, factor in changes:
        other, weight, added = pixels, 0.0, CUT_OFF
        if name != 'brightness':
            gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        if name == 'saturation':
            other, weight = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), 1 - factor
        elif name == 'contrast':
            added += (1 - factor) * gray[:, : len(parts[0])].mean()
        pixels = cv2.addWeighted(pixels, factor, other, weight, added)
    made = np.split(pixels[0], np.cumsum([len(part) for part in parts[:-1]]))[1:]
    return [part.reshape(view.shape) for part, view in zip(made, views, strict=True)]


def _mean_gray(img: np.ndarray) -> int:
    counts = np.array(_to_pillow(img).convert('L').histogram())
    return int(counts @ LEVELS / counts.sum() + 0.5)


def _to_pillow(img: np.ndarray) -> Image.Image:
    return Image.fromarray(cv2.cvtColor(img, cv2.COLOR_BGR2RGB))


def _check_factors(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(value, Sequence):
        return check_range(f'RGBJitter.{name}', value)
    if not value >= 0:
        raise UserError(f'RGBJitter.{name}={value!r}: expected a number from 0, or (min, max)')
    return max(0.0, 1.0 - value), 1.0 + value
