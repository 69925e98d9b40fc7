import numpy as np
import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.apis.batch import Batch
from beit_mm.apis.results import Reconstructions
from beit_mm.apis.verbs.tokenize import decode, encode, token_view
from beit_mm.apis.verbs.verb import TOKENIZERS, Rows, Verb, rows_of, vocabulary_of
from beit_mm.contracts import UserError
from beit_mm.visualization import mask_patches

RATIO = 0.4  # BEiT, section 2.3
GRAY = 0.5
Mask = float | np.ndarray | Tensor | None


def check(module: nn.Module, mask: Mask = None) -> None:
    if vocabulary_of(module) is module and mask is not None:
        raise UserError('mask: a tokenizer sees whole images; take the model of a pre-training')
    if isinstance(mask, bool) or isinstance(mask, int | float) and not 0 < mask <= 1:
        raise UserError(f'mask={mask}: expected a share of the patches in (0, 1], or an array')
    if not isinstance(mask, int | float | None) and np.ndim(mask) not in (2, 3):
        raise UserError(
            f'mask has shape {np.shape(mask)}; expected (h, w), or (N, h, w) with one for each '
            'image, True = masked'
        )


def rows(module: nn.Module, batch: Batch, mask: Mask = None) -> Rows:
    """Return the fields of Reconstructions."""
    view = token_view(module, batch)
    tokenizer = vocabulary_of(module)
    true = encode(module, view)  # (B, h, w)
    sees_all = tokenizer is module
    if sees_all:
        where, predicted = torch.zeros_like(true, dtype=torch.bool), true
    else:
        where = masks_of(batch, mask, tuple(true.shape[1:])).to(true.device)
        predicted = predict(module, batch.inputs, where, true)
    found = dict(
        original=view.float().permute(0, 2, 3, 1),
        mask=where,
        predicted_ids=predicted,
        true_ids=true,
    )
    if tokenizer.can_decode:
        found['truth'] = decode(module, true)
        found['predicted'] = found['truth'] if sees_all else decode(module, predicted)
    pictures = rows_of(**found)
    for row in pictures:
        row['masked'] = mask_patches(row['original'], row['mask'], GRAY)
    return pictures


def predict(module: nn.Module, inputs: Tensor, where: Tensor, true: Tensor) -> Tensor:
    """Return the likeliest tokens of the masked patches, and the true ones elsewhere."""
    features = module.features(inputs, where, where)
    main = features['main'] if isinstance(features, dict) else features
    found = true.clone()
    found[where] = module.head.predict(main).argmax(-1)
    return found


def masks_of(batch: Batch, mask: Mask, grid: tuple[int, int]) -> Tensor:
    """Return (B, h, w) bool, True = masked; a ratio masks the same random patches of all images."""
    size = len(batch.images)
    if mask is None or isinstance(mask, int | float):
        patches = grid[0] * grid[1]
        number = max(round((RATIO if mask is None else mask) * patches), 1)
        order = torch.randperm(patches, generator=torch.Generator().manual_seed(0))
        chosen = torch.isin(torch.arange(patches), order[:number])
        return chosen.view(1, *grid).expand(size, -1, -1)
    given = torch.as_tensor(mask).bool()
    if given.ndim == 3:
        places = [image.index for image in batch.images]
        if max(places) >= len(given):
            raise UserError(f'mask has {len(given)} masks, but there are more images')
        given = given[places]
    if tuple(given.shape[-2:]) != grid:
        raise UserError(
            f'mask is for {tuple(given.shape[-2:])} patches, but the images have {grid} (h, w)'
        )
    return given.expand(size, -1, -1)


RECONSTRUCT = Verb(TOKENIZERS, Reconstructions, rows, check)
