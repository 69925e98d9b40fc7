import math
import random
from collections.abc import Sequence

import numpy as np
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms.arguments import check_pair, check_range
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

CROP_TRIES = 10
FILTERS = ('bicubic', 'bilinear', 'box', 'hamming', 'lanczos', 'nearest')  # of Pillow
# What single-precision resizing can represent.
DTYPES = ('uint8', 'int8', 'uint16', 'int16', 'float16', 'float32', 'float64')


@TRANSFORMS.register_module()
class TwoViewResizedCrop(Transform):
    """Cut one random crop and resize it for the encoder and for the tokenizer.

    Reads img, (H, W) or (H, W, C), with any number and order of channels. Writes img (``size``),
    img_shape, token_img (``token_size``), and crop = (top, left, height, width) in pixels of the
    image that was read. Both views show the same crop (BEiT paper, Section 2.1). Without
    ``token_size`` it is a random resized crop for any other training.

    Resizing is antialiased. uint8 images equal Pillow's ``crop`` and ``resize`` bit for bit, each
    channel by itself: a fourth channel is not taken for transparency. Other types are resized in
    single precision and keep their type; integers are rounded and clipped to their range.

    Args:
        size: Encoder view, one number or (height, width).
        token_size: Tokenizer view, likewise; None for no second view.
        scale: Range of the crop's part of the image area.
        ratio: Range of the crop's width / height, drawn log-uniformly. An image on which ten draws
            do not fit is cropped in its center, as large as ``ratio`` allows.
        interpolation: Filter for img: 'nearest', 'box', 'bilinear', 'hamming', 'bicubic' or
            'lanczos'.
        token_interpolation: Filter for token_img.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        token_size: int | Sequence[int] | None = None,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        token_interpolation: str = 'lanczos',
    ):
        self.size = check_pair('TwoViewResizedCrop.size', size, '(height, width)')
        self.token_size = None
        if token_size is not None:
            key = 'TwoViewResizedCrop.token_size'
            self.token_size = check_pair(key, token_size, '(height, width)')
        self.scale = check_range('TwoViewResizedCrop.scale', scale)
        if self.scale[1] > 1:
            raise UserError(
                f'TwoViewResizedCrop.scale={tuple(scale)}: a crop is at most the whole image; '
                'set the upper end to at most 1.0'
            )
        self.ratio = check_range('TwoViewResizedCrop.ratio', ratio)
        self.interpolation = _check_filter('interpolation', interpolation)
        self.token_interpolation = _check_filter('token_interpolation', token_interpolation)

    def transform(self, results: dict) -> dict:
        if results.get('img') is None:
            raise UserError(
                "TwoViewResizedCrop: no 'img' in the results; put LoadImageFromFile before it"
            )
        img = _check_image(results['img'])
        top, left, height, width = self.sample_crop(*img.shape[:2])
        crop = img[top : top + height, left : left + width]
        results['crop'] = (top, left, height, width)
        results['img'] = _resize(crop, self.size, self.interpolation)
        results['img_shape'] = self.size
        if self.token_size is not None:
            results['token_img'] = _resize(crop, self.token_size, self.token_interpolation)
        return results

    def sample_crop(self, img_height: int, img_width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width); every position inside the image is possible."""
        low, high = self.ratio
        for _ in range(CROP_TRIES):
            area = img_height * img_width * random.uniform(*self.scale)
            aspect = math.exp(random.uniform(math.log(low), math.log(high)))
            width = round(math.sqrt(area * aspect))
            height = round(math.sqrt(area / aspect))
            if 0 < width <= img_width and 0 < height <= img_height:
                top = random.randint(0, img_height - height)
                left = random.randint(0, img_width - width)
                return top, left, height, width
        width, height = img_width, img_height
        if width / height < low:
            height = max(round(width / low), 1)
        elif width / height > high:
            width = max(round(height * high), 1)
        return (img_height - height) // 2, (img_width - width) // 2, height, width


def _check_filter(key: str, name: str) -> str:
    if name not in FILTERS:
        raise UserError(f'TwoViewResizedCrop.{key}={name!r}: expected one of {", ".join(FILTERS)}')
    return name


def _check_image(img: np.ndarray) -> np.ndarray:
    if img.ndim not in (2, 3) or 0 in img.shape:
        raise UserError(
            f'TwoViewResizedCrop: img has shape {img.shape}; '
            'expected (H, W) or (H, W, C), none of them 0'
        )
    if img.dtype.name not in DTYPES:
        raise UserError(
            f'TwoViewResizedCrop: img has dtype {img.dtype}; expected one of {", ".join(DTYPES)}; '
            'convert it in the pipeline, for example with LoadImageFromFile(to_float32=True)'
        )
    return img


def _resize(img: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """Resize (H, W) or (H, W, C) to ``size`` (height, width); the dtype stays."""
    resample = Image.Resampling[interpolation.upper()]

    def resize(plane):
        # The crop is cut before: Pillow's `box=` would let the filter see pixels beyond it.
        return np.array(Image.fromarray(plane).resize(size[::-1], resample))

    if img.dtype == np.uint8 and (img.ndim == 2 or img.shape[2] == 3):
        return resize(img)
    if img.ndim == 3:
        channels = [_resize(img[..., c], size, interpolation) for c in range(img.shape[2])]
        return np.stack(channels, axis=-1)
    resized = resize(img.astype(np.float32))
    if np.issubdtype(img.dtype, np.integer):
        limits = np.iinfo(img.dtype)
        resized = resized.round().clip(limits.min, limits.max)
    return resized.astype(img.dtype)
