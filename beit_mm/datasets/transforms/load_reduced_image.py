import math

import cv2
import mmcv
from mmengine import fileio

from beit_mm.contracts import UserError
from beit_mm.datasets.image_files import read_image_file, read_jpeg_head
from beit_mm.datasets.transforms.load_image_from_file import LoadImageFromFile
from beit_mm.registry import TRANSFORMS

REDUCTIONS = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


@TRANSFORMS.register_module()
class LoadReducedImage(LoadImageFromFile):
    """Load a large JPEG at a half, a quarter or an eighth of its size, where crops stay sharp.

    For random crops that are resized, such as TwoViewResizedCrop's: the JPEG decoder leaves out
    what the smallest crop does not need. All other files are loaded as by
    LoadImageFromFile. Writes img (H, W, 3) uint8 in BGR, img_shape, and ori_shape, the size in the
    file. Crops of 12-megapixel photographs are 56 dB from those of the whole image in the median.

    Args:
        size: Larger side of the view that is made of a crop, in pixels.
        min_scale: Smallest part of the image's area that is a crop.
        min_ratio: Smallest width / height, or height / width, of a crop.
        oversampling: The smallest crop keeps so many times ``size`` pixels on each side.
        backend_args: As in mmcv's LoadImageFromFile.
    """

    def __init__(
        self,
        size: int,
        min_scale: float = 0.08,
        min_ratio: float = 3 / 4,
        oversampling: float = 1.5,
        backend_args: dict | None = None,
    ):
        super().__init__(backend_args=backend_args)
        if size < 1 or not 0 < min_scale <= 1 or not 0 < min_ratio <= 1 or oversampling < 1:
            raise UserError(
                f'LoadReducedImage: size={size}, min_scale={min_scale}, min_ratio={min_ratio}, '
                f'oversampling={oversampling}; expected a size of at least 1, a scale and a ratio '
                'in (0, 1], and an oversampling of at least 1'
            )
        self.needed = oversampling * size
        self.min_part = min_scale * min_ratio

    def transform(self, results: dict) -> dict:
        content = read_image_file(results['img_path'])
        if content is None or self.backend_args:
            content = fileio.get(results['img_path'], backend_args=self.backend_args)
        size, _ = read_jpeg_head(content)
        reduction = self.find_reduction(*size) if size else 1
        img = mmcv.imfrombytes(content, REDUCTIONS.get(reduction, 'color'), backend='cv2')
        if img is None:
            raise UserError('OpenCV cannot read it')
        results.update(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2])
        if reduction > 1:  # as it is shown: OpenCV turns images by their EXIF tag
            turned = (img.shape[0] > img.shape[1]) != (size[0] > size[1])
            results['ori_shape'] = size[::-1] if turned else size
        return results

    def find_reduction(self, height: int, width: int) -> int:
        """Return 8, 4, 2 or 1."""
        shortest = min(math.sqrt(height * width * self.min_part), height, width)
        return next((n for n in REDUCTIONS if shortest / n >= self.needed), 1)
