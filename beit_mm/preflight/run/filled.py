"""How much of [0, 1] the images of a tokenizer fill."""

from collections.abc import Mapping

from torch import Tensor

from beit_mm.contracts import Finding
from beit_mm.models import TwoViewDataPreprocessor

LEAST = 0.25


def filled(preprocessor, batch) -> float | None:
    """Return the largest value of a batch in [0, 1]; None where nothing is scaled to it."""
    if not isinstance(preprocessor, TwoViewDataPreprocessor) or not isinstance(batch, Mapping):
        return None
    images, scale = batch.get('token_inputs'), preprocessor.token_scale
    if images is None and not preprocessor.mean.any():  # a tokenizer in training
        images, scale = batch.get('inputs'), preprocessor.std.max().item()
    return images.max().item() / scale if isinstance(images, Tensor) else None


def describe_filled(largest: float, preprocessor, batches: int) -> Finding | None:
    """Return a warning if the largest value of some batches is far below 1."""
    if largest >= LEAST:
        return None
    name = 'std' if not preprocessor.mean.any() else 'token_scale'
    message = (
        f'the images of the first {batches} batches end at {largest:.2g} of the range [0, 1] that '
        f'the tokenizer sees; set {name} to the largest value of the data '
        '(tools/analysis_tools/band_statistics.py)'
    )
    return Finding('warning', f'data_preprocessor.{name}', message)
