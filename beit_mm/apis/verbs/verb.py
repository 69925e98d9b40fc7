from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch.nn as nn
from torch import Tensor

from beit_mm.apis.results import Result
from beit_mm.contracts import Backbone, Tokenizer, UserError
from beit_mm.contracts.target import tokenizer_of

Rows = list[dict[str, Any]]
ENCODERS = ('pretraining', 'classification', 'segmentation', 'backbone')
TOKENIZERS = ('tokenizer', 'pretraining')


@dataclass(frozen=True)
class Verb:
    """One thing that models do with images.

    Attributes:
        tasks: Those of the models that it fits.
        result: What it gives; its ``per_image`` attributes are the keys of a row.
        rows: Called with module, batch and arguments; returns a dict for each image.
        check: Called with module and arguments before any image is read; raises a UserError.
        keeps_pixels: It needs the whole images as they were loaded.
    """

    tasks: tuple[str, ...]
    result: type[Result]
    rows: Callable[..., Rows]
    check: Callable[..., Any]
    keeps_pixels: bool = False


def backbone_of(module: nn.Module) -> nn.Module:
    """Return the encoder of a model, or the model where it is one."""
    return dict(module.named_children()).get('backbone', module)


def vocabulary_of(module: nn.Module) -> Tokenizer:
    """Return the tokenizer of a model; a UserError if its targets are no tokens."""
    found = tokenizer_of(module)[0]
    if found is None or found.vocab_size is None:
        raise UserError(f'{type(found).__name__} makes continuous targets and no tokens')
    return found


def check_layer(backbone: Backbone, layer: int) -> None:
    number = backbone.count_layers()
    if not is_integer(layer) or not -number <= layer < number:
        raise UserError(
            f'layer={layer!r}: expected one of {number} layers, from 0 on or from the end with '
            'negative numbers'
        )


def is_integer(value: Any) -> bool:
    """Return whether a value counts something; numbers of numpy do."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def rows_of(**columns: Tensor) -> Rows:
    """Return tensors (B, ...) as a dict of arrays for each image."""
    arrays: Mapping[str, np.ndarray] = {n: t.detach().cpu().numpy() for n, t in columns.items()}
    size = len(next(iter(arrays.values())))
    return [{name: array[index] for name, array in arrays.items()} for index in range(size)]
