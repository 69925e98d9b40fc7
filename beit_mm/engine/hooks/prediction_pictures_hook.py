from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel
from mmengine.runner import Runner

from beit_mm.checkpoints.store import write_atomically
from beit_mm.contracts import UserError
from beit_mm.contracts.runner_access import wrappers
from beit_mm.evaluation.per_class_results import predicted_labels
from beit_mm.registry import HOOKS
from beit_mm.visualization import draw_classification, draw_segmentation, to_rgb


@HOOKS.register_module()
class PredictionPicturesHook(Hook):
    """Draw each prediction of a test into a PNG file, for the models of mmpretrain and mmseg.

    A classification shows the image that the model saw, the true and the predicted class and its
    score. A segmentation shows the image, the true and the predicted classes of its pixels, and a
    legend. All processes draw their own samples. Files are named NUMBER_IMAGE.png by the number of
    the sample in the data set, so that images of the same name do not replace each other.

    Args:
        out_dir: Folder of the pictures.
        is_bgr: The channels of the data set's images are BGR.
    """

    priority = 'LOW'

    def __init__(self, out_dir: str, is_bgr: bool = True):
        self.out_dir, self.is_bgr = Path(out_dir), is_bgr
        self._drawn = 0

    def before_test(self, runner: Runner) -> None:
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence = ()
    ) -> None:
        images = data_batch['inputs']
        if any(isinstance(model, BaseTTAModel) for model in wrappers(runner.model)):
            samples = data_batch['data_samples']  # of each view
            plain = [n for n, view in enumerate(samples) if not view[0].get('flip')]
            images = images[plain[0] if plain else 0]
        meta = runner.test_dataloader.dataset.metainfo
        for image, output in zip(images, outputs, strict=True):
            sample = output if isinstance(output, Mapping) else output.to_dict()
            number = sample.get('sample_idx', self._drawn * get_world_size() + get_rank())
            self._drawn += 1
            name = Path(str(sample.get('img_path') or 'image')).stem
            picture = self._draw(np.asarray(image.cpu()), sample, meta)
            content = cv2.imencode('.png', picture[..., ::-1])[1].tobytes()
            write_atomically(self.out_dir / f'{number:06d}_{name}.png', content)

    def _draw(self, image: np.ndarray, sample: Mapping, meta: Mapping) -> np.ndarray:
        if self.is_bgr and len(image) == 3:
            image = image[::-1]
        white = 255 if image.max(initial=0) <= 255 else float(image.max())
        image = to_rgb(image[None].astype(np.float32), white)[0]
        classes = meta.get('classes') or ()
        if 'pred_sem_seg' in sample:
            keys = dict(truth='gt_sem_seg', prediction='pred_sem_seg')
            masks = {
                title: np.asarray(sample[key]['data'].cpu()).squeeze(0)
                for title, key in keys.items()
                if key in sample
            }
            height, width = masks['prediction'].shape
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            return draw_segmentation(image, masks, classes, meta.get('palette') or ())
        found = predicted_labels(sample)
        if found is None:
            raise UserError(
                'PredictionPicturesHook draws classes of images and of pixels, but the model '
                f'predicts {sorted(sample)}'
            )
        truth = np.asarray(sample['gt_label'].cpu()).ravel() if 'gt_label' in sample else ()
        score = ''
        if 'pred_score' in sample:
            score = ' ' + ', '.join(f'{sample["pred_score"].ravel()[n].item():.2f}' for n in found)
        return draw_classification(
            image,
            _named(truth, classes),
            _named(found, classes) + score,
            is_right=sorted(truth) == sorted(found),
        )


def _named(labels: Sequence[int], classes: Sequence[str]) -> str:
    return ', '.join(classes[n] if n < len(classes) else str(n) for n in labels)
