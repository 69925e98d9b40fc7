"""How much of [0, 1] the images of a tokenizer fill, and which values no image should have."""

from collections.abc import Mapping

import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Finding, Tokenizer
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
    return Finding.warning(f'data_preprocessor.{name}', message)


def find_limits(model) -> dict[str, tuple[float, float]]:
    """Return the range, by keys of the pipelines, beyond which values are far outside of [0, 1]."""
    buffers = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
    mean, std = (buffers.get(f'data_preprocessor.{name}') for name in ('mean', 'std'))
    if mean is None or std is None:  # of any library
        return {}
    far, scale = DEVIATIONS * std, std.max().item()
    limits = dict(img=((mean - far).min().item(), (mean + far).max().item()))
    if isinstance(model.data_preprocessor, TwoViewDataPreprocessor):
        if isinstance(model, Tokenizer) and not mean.any():
            limits['img'] = -scale, 2 * scale
        scale = model.data_preprocessor.token_scale
        limits['token_img'] = -scale, 2 * scale
    return limits
