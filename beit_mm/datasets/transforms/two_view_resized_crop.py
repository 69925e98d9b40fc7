import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from beit_mm.contracts import UserError, check_choice
from beit_mm.datasets.transforms.arguments import check_pair, check_range
from beit_mm.datasets.transforms.resize_views import FILTERS, View, resize_views
from beit_mm.datasets.transforms.rgb_jitter import RGBJitter, adjust_alike, check_colors
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

CROP_TRIES = 10
THIN_SIDE = 64  # pixels that are left of the shorter side for the mean of an image, at least
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

    ``resize='torch'`` and ``color_jitter`` are faster than Pillow and than a RGBJitter before the
    crop; docs/performance.md has the figures.

    Args:
        size: Encoder view, one number or (height, width).
        token_size: Tokenizer view, likewise; None for no second view.
        scale: Range of the crop's part of the image area. None takes the largest crop in the
            center, without a draw.
        ratio: Range of the crop's width / height, drawn log-uniformly. An image on which ten draws
            do not fit is cropped in its center, as large as ``ratio`` allows.
        interpolation: Filter for img: 'nearest', 'box', 'bilinear', 'hamming', 'bicubic' or
            'lanczos'.
        token_interpolation: Filter for token_img.
        resize: 'pillow', or 'torch' for uint8 images and the filters that torch has: bilinear,
            bicubic and, from torch 2.13, lanczos. The pixels differ by rounding, 72 dB in the
            median of photographs; everything else is resized by Pillow.
        color_jitter: Arguments of RGBJitter, to change the colors of both views alike after they
            are resized and not those of the image. Contrast changes around the mean gray of the
            image, of which a part of the pixels is looked at. 49 dB to a RGBJitter before the
            crop in the median of photographs.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        token_size: int | Sequence[int] | None = None,
        scale: Sequence[float] | None = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        token_interpolation: str = 'lanczos',
        resize: str = 'pillow',
        color_jitter: Mapping | None = None,
    ):
        self.size = check_pair('TwoViewResizedCrop.size', size, '(height, width)')
        self.token_size = None
        if token_size is not None:
            key = 'TwoViewResizedCrop.token_size'
            self.token_size = check_pair(key, token_size, '(height, width)')
        self.scale = None if scale is None else check_range('TwoViewResizedCrop.scale', scale)
        if self.scale is not None and self.scale[1] > 1:
            raise UserError(
                f'TwoViewResizedCrop.scale={tuple(scale)}: a crop is at most the whole image; '
                'set the upper end to at most 1.0'
            )
        self.ratio = check_range('TwoViewResizedCrop.ratio', ratio)
        filters = dict(interpolation=interpolation, token_interpolation=token_interpolation)
        check_choice('TwoViewResizedCrop', FILTERS, **filters)
        check_choice('TwoViewResizedCrop', ('pillow', 'torch'), resize=resize)
        self.interpolation = interpolation
        self.token_interpolation = token_interpolation
        self.resize = resize
        self.color_jitter = None if color_jitter is None else RGBJitter(**color_jitter)

    def transform(self, results: dict) -> dict:
        if results.get('img') is None:
            raise UserError(
                "TwoViewResizedCrop: no 'img' in the results; put LoadImageFromFile before it"
            )
        img = _check_image(results['img'])
        top, left, height, width = self.sample_crop(*img.shape[:2])
        crop = img[top : top + height, left : left + width]
        views = resize_views(crop, self.views, by=self.resize)
        if self.color_jitter is not None:
            views = self._adjust_colors(views, img)
        results['crop'] = (top, left, height, width)
        results.update(zip(('img', 'token_img'), views, strict=False))
        results['img_shape'] = self.size
        return results

    @property
    def views(self) -> list[View]:
        """Return size and filter of the views."""
        views = [(self.size, self.interpolation), (self.token_size, self.token_interpolation)]
        return views[: 1 if self.token_size is None else 2]

    def _adjust_colors(self, views: list[np.ndarray], img: np.ndarray) -> list[np.ndarray]:
        """Change the colors of the views as RGBJitter would change those of ``img``."""
        check_colors(img)
        step = max(min(img.shape[:2]) // THIN_SIDE, 1)
        return adjust_alike(views, self.color_jitter.draw(), seen=img[::step, ::step])

    def sample_crop(self, img_height: int, img_width: int) -> tuple[int, int, int, int]:
        """Draw (top, left, height, width); every position inside the image is possible."""
        low, high = self.ratio
        for _ in range(0 if self.scale is None else CROP_TRIES):
            area = img_height * img_width * random.uniform(*self.scale)
            aspect = math.exp(random.uniform(math.log(low), math.log(high)))
            width = round(math.sqrt(area * aspect))
            height = round(math.sqrt(area / aspect))
            if 0 < width <= img_width and 0 < height <= img_height:
                top = random.randrange(img_height - height + 1)
                left = random.randrange(img_width - width + 1)
                return top, left, height, width
        width, height = img_width, img_height
        if width / height < low:
            height = max(round(width / low), 1)
        elif width / height > high:
            width = max(round(height * high), 1)
        return (img_height - height) // 2, (img_width - width) // 2, height, width


def _check_image(img: np.ndarray) -> np.ndarray:
    if img.ndim not in (2, 3) or 0 in img.shape:
        raise UserError(
            f'TwoViewResizedCrop: img has shape {img.shape}; '
            'expected (H, W) or (H, W, C), none of them 0'
        )
    if img.dtype != np.uint8 and img.dtype.name not in DTYPES:  # asking for the name takes long
        raise UserError(
            f'TwoViewResizedCrop: img has dtype {img.dtype}; expected one of {", ".join(DTYPES)}; '
            'convert it in the pipeline, for example with LoadImageFromFile(to_float32=True)'
        )
    return img
