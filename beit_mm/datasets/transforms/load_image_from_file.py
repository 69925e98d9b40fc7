import mmcv
import numpy as np
from mmcv import transforms

from beit_mm.datasets.image_files import read_image_file
from beit_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImageFromFile(transforms.LoadImageFromFile):
    """mmcv's LoadImageFromFile, which reads a local file once, to check and to decode it.

    Arguments are mmcv's. Errors of files that are too large are those of check_image_file.
    """

    def transform(self, results: dict) -> dict | None:
        content = read_image_file(results['img_path'])
        if content is None or self.ignore_empty or self.file_client_args or self.backend_args:
            return super().transform(results)
        img = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        assert img is not None, f'failed to load image: {results["img_path"]}'
        img = img.astype(np.float32) if self.to_float32 else img
        results.update(img=img, img_shape=img.shape[:2], ori_shape=img.shape[:2])
        return results
