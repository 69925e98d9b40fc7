from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from beit_mm.contracts.codebook_stats import codebook_stats
from beit_mm.evaluation.ssim import ssim
from beit_mm.registry import METRICS


@METRICS.register_module()
class TokenizerQuality(BaseMetric):
    """Reconstruction and use of the vocabulary over a whole data set.

    ``codes_used``, ``codes_used_percent`` (of ``vocab_size``), ``dead_codes``, ``entropy`` (of the
    tokens' histogram, nats), ``perplexity`` (its exp) and, where the tokenizer can decode, ``psnr``
    (dB, from the squared error over all images, peak 1), ``l1`` (mean absolute error, in [0, 1])
    and ``ssim`` (mean over images, see :func:`ssim`). The commonest tokens go to the log.

    Args:
        vocab_size: Of the tokenizer.
    """

    default_prefix = 'tokenizer'

    def __init__(self, vocab_size: int, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Each sample has ``ids`` (h, w), ``image`` and perhaps ``recon`` (C, H, W) in [0, 1]."""
        for sample in data_samples:
            result = dict(ids=sample['ids'].flatten().cpu().numpy())
            if 'recon' in sample:
                error = (sample['recon'] - sample['image']).double()
                result.update(
                    squared=error.square().sum().item(),
                    absolute=error.abs().sum().item(),
                    values=error.numel(),
                    ssim=ssim(sample['recon'], sample['image']),
                )
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        ids = np.concatenate([result['ids'] for result in results])
        if ids.max() >= self.vocab_size:
            raise ValueError(
                f'val_evaluator: TokenizerQuality.vocab_size={self.vocab_size}, but there is a '
                f'token {ids.max()}; set it to the vocab_size of the tokenizer'
            )
        health = codebook_stats(torch.from_numpy(np.bincount(ids, minlength=self.vocab_size)))
        print_log(f'Tokens of the whole data set: {health}', logger='current')
        metrics = health.scalars()
        if 'values' in results[0]:
            values = sum(result['values'] for result in results)
            mse = sum(result['squared'] for result in results) / values
            metrics['psnr'] = float(-10 * np.log10(max(mse, 1e-12)))
            metrics['l1'] = sum(result['absolute'] for result in results) / values
            metrics['ssim'] = float(np.mean([result['ssim'] for result in results]))
        return metrics
