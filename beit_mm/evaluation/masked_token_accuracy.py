import math
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from beit_mm.contracts import UserError
from beit_mm.contracts.codebook_stats import codebook_stats
from beit_mm.registry import METRICS


@METRICS.register_module()
class MaskedTokenAccuracy(BaseMetric):
    """Accuracy of predicted tokens over all masked patches, beside what their frequencies give.

    Metrics:
        accuracy: Percent.
        loss: Mean cross-entropy, in nats.
        unigram_entropy: Entropy of the targets' histogram in nats, which is the loss of the best
            predictor that ignores the image.
        gain_over_unigram: 1 - loss / unigram_entropy; 1 is perfect, 0 as good as that predictor.
        majority: Percent; the accuracy of always predicting the commonest token.
        target_codes: Number of different targets.
        target_perplexity: exp(unigram_entropy).

    The commonest targets are written to the log.
    """

    default_prefix = 'mim'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Take samples with ``pred_ids``, ``target_ids`` and ``loss`` of shape (M_i,)."""
        for sample in data_samples:
            pred, target, loss = (
                sample[key].detach().cpu().numpy() for key in ('pred_ids', 'target_ids', 'loss')
            )
            self.results.append((pred == target, target, loss.astype(np.float64)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not any(len(target) for _, target, _ in results):
            raise UserError(
                'MaskedTokenAccuracy: no patch is masked in the whole validation set; the mask '
                "transform of val_dataloader's pipeline decides how many are"
            )
        correct, targets, losses = (np.concatenate(part) for part in zip(*results, strict=True))
        stats, loss = codebook_stats(torch.from_numpy(np.bincount(targets))), float(losses.mean())
        print_log(f'Commonest targets of the whole data set: {stats.commonest}', logger='current')
        entropy = stats.entropy
        return dict(
            accuracy=100 * float(correct.mean()),
            loss=loss,
            unigram_entropy=entropy,
            gain_over_unigram=1 - loss / entropy if entropy > 0 else 0.0,
            majority=stats.top_codes[0][1],
            target_codes=stats.codes_used,
            target_perplexity=math.exp(entropy),
        )
