from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from beit_mm.contracts import UserError
from beit_mm.registry import METRICS


@METRICS.register_module()
class MaskedFeatureRegression(BaseMetric):
    """Errors of the predicted continuous targets, over all masked patches.

    Metrics:
        loss: Mean of the head's error.
        mse: Mean squared error over patches and values.
        variance: Of the targets around the mean of each value; the squared error of the best
            prediction that ignores the image.
        explained_variance: 1 - mse / variance; 1 is perfect, 0 as good as that prediction.
    """

    default_prefix = 'mim'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Take samples with ``pred`` and ``target`` of shape (M_i, D) and ``loss`` (M_i,)."""
        for sample in data_samples:
            pred, target, loss = (
                sample[key].detach().cpu().double().numpy() for key in ('pred', 'target', 'loss')
            )
            # Sums, since the targets of a whole data set can be gigabytes
            self.results.append(
                dict(
                    patches=len(target),
                    loss=loss.sum(),
                    error=np.square(pred - target).sum(),
                    total=target.sum(0),
                    squares=np.square(target).sum(0),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        total = {key: sum(result[key] for result in results) for key in results[0]}
        patches, values = total['patches'], len(total['total'])
        if patches == 0:
            raise UserError(
                'MaskedFeatureRegression: no patch is masked in the whole validation set; the mask '
                "transform of val_dataloader's pipeline decides how many are"
            )
        mse = float(total['error']) / (patches * values)
        around_mean = total['squares'] / patches - np.square(total['total'] / patches)
        variance = float(around_mean.clip(min=0).mean())
        return dict(
            loss=float(total['loss']) / patches,
            mse=mse,
            variance=variance,
            explained_variance=1 - mse / variance if variance > 0 else 0.0,
        )
