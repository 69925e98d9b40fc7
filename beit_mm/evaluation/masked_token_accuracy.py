from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from beit_mm.contracts.codebook_stats import codebook_stats
from beit_mm.evaluation.token_histogram import entropy
from beit_mm.registry import METRICS


@METRICS.register_module()
class MaskedTokenAccuracy(BaseMetric):
    """How well masked tokens are predicted, beside what knowing nothing but their shares gives.

    Over all masked patches: ``accuracy`` (percent), ``loss`` (mean cross-entropy, nats),
    ``chance`` (entropy of the targets' histogram, nats: the loss of the best constant
    prediction), ``gain_over_unigram`` (1 - loss / chance: the part of it that is predicted), ``majority``
    (percent: the accuracy of always naming the commonest token), ``target_codes`` (different
    targets) and ``target_perplexity`` (exp of ``chance``). The commonest targets are in the log.
    """

    default_prefix = 'mim'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Each sample has ``pred_ids``, ``target_ids`` and ``loss``, of shape (M_i,)."""
        for sample in data_samples:
            pred, target, loss = (
                sample[key].detach().cpu().numpy() for key in ('pred_ids', 'target_ids', 'loss')
            )
            self.results.append((pred == target, target, loss.astype(np.float64)))

    def compute_metrics(self, results: list) -> dict[str, float]:
        if not any(len(target) for _, target, _ in results):
            raise ValueError(
                'MaskedTokenAccuracy: no patch is masked in the whole validation set; the mask '
                "transform of val_dataloader's pipeline decides how many are"
            )
        correct, targets, losses = (np.concatenate(part) for part in zip(*results, strict=True))
        chance, loss = entropy(targets), float(losses.mean())
        health = codebook_stats(torch.from_numpy(np.bincount(targets)))
        print_log(f'Commonest targets of the whole data set: {health.commonest}', logger='current')
        return dict(
            accuracy=100 * float(correct.mean()),
            loss=loss,
            chance=chance,
            gain_over_unigram=1 - loss / chance if chance > 0 else 0.0,
            majority=100 * float(np.bincount(targets).max() / len(targets)),
            target_codes=len(np.unique(targets)),
            target_perplexity=float(np.exp(chance)),
        )
