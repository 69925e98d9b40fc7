from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.utils import apply_to

from beit_mm.evaluation.per_class_results import predicted_labels
from beit_mm.registry import METRICS


@METRICS.register_module()
class KeptPredictions(BaseMetric):
    """Keeps the predictions of an evaluation, as MMEngine's ``DumpResults`` writes them.

    After the evaluation ``predictions`` has, in the first process, a dict for each sample in their
    order. The logits of segmentors are left out and masks are uint8 where that is enough, for 150
    numbers for each pixel fill any memory. A classification after test-time augmentation gets
    ``pred_label``, which tools of mmpretrain read.
    """

    default_prefix = ''  # MMEngine warns where there is none

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.predictions: list[Mapping] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        for sample in data_samples:
            kept = {name: value for name, value in sample.items() if name != 'seg_logits'}
            if 'pred_score' in kept and 'pred_label' not in kept:
                kept['pred_label'] = torch.from_numpy(predicted_labels(kept))
            for name in ('pred_sem_seg', 'gt_sem_seg'):
                if name in kept:
                    kept[name] = dict(kept[name], data=_in_few_bytes(kept[name]['data']))
            self.results.append(apply_to(kept, torch.is_tensor, torch.Tensor.cpu))

    def compute_metrics(self, results: list) -> dict:
        self.predictions = results
        return {}


def _in_few_bytes(ids: torch.Tensor) -> torch.Tensor:
    fits = ids.numel() and ids.min() >= 0 and ids.max() <= 255
    return ids.to(torch.uint8) if fits else ids
