import numpy as np
import torch.nn as nn

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import Segmentations
from beit_mm.apis.verbs.verb import Rows, Verb


def check(module: nn.Module) -> None:
    pass


def rows(module: nn.Module, batch: Batch) -> Rows:
    """Return ``masks`` (H, W), of the size of the loaded images, and ``images``."""
    found = []
    samples = module(batch.inputs, batch.samples, mode='predict')
    for sample, image in zip(samples, batch.images, strict=True):
        mask = sample.pred_sem_seg.data[0].cpu().numpy()
        kind = np.uint8 if mask.max(initial=0) < 256 else np.uint16
        found.append(dict(masks=mask.astype(kind), images=image.pixels))
    return found


SEGMENT = Verb(('segmentation',), Segmentations, rows, check, keeps_pixels=True)
