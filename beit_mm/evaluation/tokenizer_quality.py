from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from beit_mm.contracts import UserError
from beit_mm.contracts.codebook_stats import codebook_stats
from beit_mm.evaluation.ssim import ssim
from beit_mm.registry import METRICS


@METRICS.register_module()
class TokenizerQuality(BaseMetric):
    """Reconstruction error and codebook usage over a whole data set.

    Metrics:
        codes_used, codes_used_percent, dead_codes, entropy, perplexity: See
            :class:`~beit_mm.contracts.codebook_stats.CodebookStats`.
        psnr: In dB, from the squared error over all images, peak 1. This and the following need a
            tokenizer that can decode.
        explained_variance: 1 - squared error / squared distance from the mean color of all images;
            1 is perfect, and one color everywhere has 0. Left out where all pixels are equal.
        l1: Mean absolute error of pixels in [0, 1].
        ssim: Mean over images, see :func:`~beit_mm.evaluation.ssim.ssim`.

    The commonest tokens are written to the log.

    Args:
        vocab_size: That of the tokenizer, whose samples say it if it is left out here.

    Raises:
        UserError: A token is not below ``vocab_size``.
    """

    default_prefix = 'tokenizer'

    def __init__(self, vocab_size: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.vocab_size = vocab_size

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Take samples with ``ids`` (h, w), ``image`` and maybe ``recon`` (C, H, W) in [0, 1]."""
        for sample in data_samples:
            ids, size = sample['ids'].flatten().cpu().numpy(), sample.get('vocab_size')
            result = dict(ids=ids, vocab_size=self.vocab_size or size)
            if 'recon' in sample:
                image = sample['image'].double()
                error = sample['recon'] - image
                result.update(
                    squared=error.square().sum().item(),
                    absolute=error.abs().sum().item(),
                    values=error.numel(),
                    sums=image.sum((1, 2)).cpu().numpy(),
                    squares=image.square().sum().item(),
                    ssim=ssim(sample['recon'], sample['image']),
                )
            self.results.append(result)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        ids, size = np.concatenate([result['ids'] for result in results]), results[0]['vocab_size']
        if size is None or ids.max() >= size:
            raise UserError(
                f'val_evaluator: TokenizerQuality.vocab_size={size}, but there is a '
                f'token {ids.max()}; set it to the vocab_size of the tokenizer'
            )
        stats = codebook_stats(torch.from_numpy(np.bincount(ids, minlength=size)))
        print_log(f'Tokens of the whole data set: {stats}', logger='current')
        metrics = stats.scalars()
        if 'values' in results[0]:
            values = sum(result['values'] for result in results)
            mse = sum(result['squared'] for result in results) / values
            metrics['psnr'] = float(-10 * np.log10(max(mse, 1e-12)))
            sums = sum(result['sums'] for result in results)  # (C,)
            squares = sum(result['squares'] for result in results)
            variance = squares / values - np.mean((sums * len(sums) / values) ** 2)
            if variance > 1e-9:  # rounding leaves about 1e-16 of one color
                metrics['explained_variance'] = float(1 - mse / variance)
            metrics['l1'] = sum(result['absolute'] for result in results) / values
            metrics['ssim'] = float(np.mean([result['ssim'] for result in results]))
        return metrics
