from typing import Any

import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import Tokens
from beit_mm.apis.results.result import stacked
from beit_mm.apis.verbs.verb import TOKENIZERS, Rows, Verb, rows_of, vocabulary_of
from beit_mm.contracts import UserError


def rows(module: nn.Module, batch: Batch) -> Rows:
    """Return ``ids`` (h, w)."""
    return rows_of(ids=encode(module, token_view(module, batch)))


def token_view(module: nn.Module, batch: Batch) -> Tensor:
    """Return the images (B, C, H, W) in [0, 1] that the tokenizer of a model sees."""
    if vocabulary_of(module) is module:
        return batch.inputs
    if batch.token_inputs is None:
        raise UserError(
            'preprocessing.pipeline makes no view for the tokenizer (TwoViewResizedCrop has no '
            'token_size)'
        )
    return batch.token_inputs


def encode(module: nn.Module, images: Tensor) -> Tensor:
    """Return token ids (B, h, w), in full precision."""
    with torch.autocast(images.device.type, enabled=False):
        return vocabulary_of(module).encode(images.float())


def decode(module: nn.Module, ids: Tensor) -> Tensor:
    """Return images (B, H, W, C) in [0, 1] of token ids (B, h, w)."""
    tokenizer = vocabulary_of(module)
    if not tokenizer.can_decode:
        raise UserError(
            f'{type(tokenizer).__name__} cannot decode: its tokens stand for features and not for '
            'pixels'
        )
    with torch.autocast(ids.device.type, enabled=False):
        return tokenizer.decode(ids).float().clamp(0, 1).permute(0, 2, 3, 1)


def detokenize(module: nn.Module, ids: Any) -> np.ndarray:
    """Return images (N, H, W, C) of ids (h, w) or (N, h, w) in memory."""
    tokenizer = vocabulary_of(module)
    if isinstance(ids, np.ndarray) and ids.dtype == object:  # of several sizes
        return stacked([detokenize(module, grid)[0] for grid in ids])
    given = np.asarray(ids.cpu() if isinstance(ids, Tensor) else ids)
    if given.ndim not in (2, 3) or given.dtype.kind not in 'iu' or given.size == 0:
        raise UserError(
            f'tokens are {given.dtype} of shape {given.shape}; expected integers (h, w) or '
            '(N, h, w)'
        )
    found = torch.from_numpy(given.astype(np.int64))
    if not 0 <= int(found.min()) <= int(found.max()) < tokenizer.vocab_size:
        raise UserError(
            f'tokens are from {int(found.min())} to {int(found.max())}, but the vocabulary has '
            f'{tokenizer.vocab_size}'
        )
    grids = found if found.ndim == 3 else found[None]
    device = next(iter(module.state_dict().values())).device
    with torch.no_grad():
        return torch.cat(
            [decode(module, part.long().to(device)).cpu() for part in grids.split(32)]
        ).numpy()


TOKENIZE = Verb(TOKENIZERS, Tokens, rows, check=vocabulary_of)
