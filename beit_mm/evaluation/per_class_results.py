from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric

from beit_mm.registry import METRICS


@METRICS.register_module()
class PerClassResults(BaseMetric):
    """Results of each class in percent, of the classifiers and segmentors of OpenMMLab.

    It adds nothing to the metrics of a run. After the evaluation ``rows`` has, in the first
    process, a dict for each class: ``class``, and of classifiers ``precision``, ``recall``, ``F1``
    and ``images``, of segmentors ``IoU``, ``Acc`` and ``pixels``. What is not defined is None, such
    as the recall of a class without images. Of other models ``rows`` stays empty.

    Args:
        ignore_index: The id of pixels that do not count.
    """

    default_prefix = ''  # MMEngine warns where there is none

    def __init__(self, ignore_index: int = 255, **kwargs):
        super().__init__(**kwargs)
        self.ignore_index = ignore_index
        self.rows: list[dict[str, Any]] = []

    def process(self, data_batch: Any, data_samples: Sequence[Mapping]) -> None:
        """Keep for each sample its ids with their numbers: true, predicted, and both at once."""
        for sample in data_samples:
            if 'gt_sem_seg' in sample and 'pred_sem_seg' in sample:
                truth, found = (
                    np.asarray(sample[key]['data'].cpu()).ravel()
                    for key in ('gt_sem_seg', 'pred_sem_seg')
                )
                known = truth != self.ignore_index
                truth, found = truth[known], found[known]
                both = truth[truth == found]
                self.results.append(('pixels', *map(_count, (truth, found, both))))
            elif 'gt_label' in sample and (found := predicted_labels(sample)) is not None:
                truth = np.asarray(sample['gt_label'].cpu()).ravel()
                both = np.intersect1d(truth, found)
                self.results.append(('images', *map(_count, (truth, found, both))))

    def evaluate(self, size: int) -> dict:
        return super().evaluate(size) if self.results else {}  # of other models, without a warning

    def compute_metrics(self, results: list) -> dict:
        names = (self.dataset_meta or {}).get('classes') or ()
        totals = [dict(), dict(), dict()]
        for _, *counts in results:
            for total, count in zip(totals, counts, strict=True):
                for number, amount in count.items():
                    total[number] = total.get(number, 0) + amount
        unit = results[0][0] if results else 'images'
        size = max([len(names), *(number + 1 for total in totals for number in total)])
        self.rows = []
        for number in range(size if results else 0):
            truth, found, both = (total.get(number, 0) for total in totals)
            name = names[number] if number < len(names) else str(number)
            if unit == 'pixels':
                values = dict(IoU=_percent(both, truth + found - both), Acc=_percent(both, truth))
            else:
                values = dict(
                    precision=_percent(both, found),
                    recall=_percent(both, truth),
                    F1=_percent(2 * both, truth + found),
                )
            self.rows.append({'class': name, **values, unit: truth})
        return {}


def predicted_labels(sample: Mapping) -> np.ndarray | None:
    """Return the labels that a classifier predicts; after test-time augmentation, of its scores."""
    if 'pred_label' in sample:
        return np.asarray(sample['pred_label'].cpu()).ravel()
    if 'pred_score' in sample:
        return np.asarray(sample['pred_score'].argmax().cpu()).ravel()
    return None


def _count(ids: np.ndarray) -> dict[int, int]:
    numbers, counts = np.unique(ids, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
