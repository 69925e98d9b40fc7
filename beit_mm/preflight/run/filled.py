"""How much of [0, 1] the images of a tokenizer fill, and which values no image should have."""

from collections.abc import Mapping

import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Finding
from beit_mm.models import TwoViewDataPreprocessor

LEAST = 0.25
OVERSHOOT = 0.125  # of a resize filter
DEVIATIONS = 100  # from the mean; bright clouds are at 40


def filled(preprocessor, batch) -> tuple[float, float] | None:
    """Return the range of a batch in units of [0, 1]; None where nothing is scaled to it."""
    if not isinstance(preprocessor, TwoViewDataPreprocessor) or not isinstance(batch, Mapping):
        return None
    images, scale = batch.get('token_inputs'), preprocessor.token_scale
    if images is None and not preprocessor.mean.any():  # a tokenizer in training
        images, scale = batch.get('inputs'), preprocessor.std.max().item()
    if not isinstance(images, Tensor):
        return None
    return images.min().item() / scale, images.max().item() / scale


def describe_filled(low: float, high: float, preprocessor, batches: int) -> Finding | None:
    """Return a warning if the range of some batches is a small part of [0, 1] or outside of it."""
    name = 'std' if not preprocessor.mean.any() else 'token_scale'
    if low < -OVERSHOOT:
        found = f'begin at {low:.2g}'
        advice = 'signed data need LoadMultiBandImage(window=...), and other values nodata=...'
    elif high > 1 + OVERSHOOT or high < LEAST:
        found = f'end at {high:.2g}'
        advice = f'set {name} to the largest value of the data'
    else:
        return None
    message = (
        f'the images of the first {batches} batches {found} of the range [0, 1] that the '
        f'tokenizer sees; {advice} (tools/analysis_tools/band_statistics.py)'
    )
    return Finding('warning', f'data_preprocessor.{name}', message)


def find_limits(preprocessor) -> dict[str, tuple[float, float]]:
    """Return the values, by keys of the pipelines, that are far outside for a preprocessor."""
    buffers = dict(preprocessor.named_buffers()) if isinstance(preprocessor, nn.Module) else {}
    mean, std = buffers.get('mean'), buffers.get('std')
    limits = {}
    if mean is not None and std is not None:  # of any library
        far = DEVIATIONS * std
        limits['img'] = (mean - far).min().item(), (mean + far).max().item()
    if isinstance(preprocessor, TwoViewDataPreprocessor):
        limits['token_img'] = -preprocessor.token_scale, 2 * preprocessor.token_scale
        if not mean.any():  # a tokenizer in training
            limits['img'] = -std.max().item(), 2 * std.max().item()
    return limits
