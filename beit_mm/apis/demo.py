"""What the demo page shows of one image: plain functions over a model, pictures uint8 RGB."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from beit_mm.apis.model import Model
from beit_mm.apis.reports.pictures import heat, mark_patch, view_of
from beit_mm.apis.results.reconstructions import shown
from beit_mm.apis.results.segmentations import distinct_colors
from beit_mm.apis.verbs.verb import ENCODERS, backbone_of, vocabulary_of
from beit_mm.contracts import Backbone
from beit_mm.contracts.target import tokenizer_of
from beit_mm.visualization import mask_patches, paste_patches

SIDE = 448  # pixels of the longer side of a picture, at least
Patch = tuple[int, int]  # row, column


def offers(model: Model) -> list[str]:
    """Return what a model can show: classes, segmentation, mask, tokens, attention."""
    backbone, target = backbone_of(model.module), tokenizer_of(model.module)[0]
    has_tokens = target is not None and target.vocab_size is not None
    found = dict(
        classes=model.task == 'classification',
        segmentation=model.task == 'segmentation',
        mask=has_tokens and model.task == 'pretraining',
        tokens=has_tokens,
        attention=model.task in ENCODERS
        and isinstance(backbone, Backbone)
        and backbone.has_attention,
    )
    return [name for name, can in found.items() if can]


def enlarged(picture: np.ndarray) -> np.ndarray:
    """Return a picture with its longer side of SIDE pixels or more, in whole squares."""
    zoom = -(-SIDE // max(picture.shape[:2]))
    return picture.repeat(zoom, 0).repeat(zoom, 1)


def patch_grid(model: Model, image: Any) -> Patch:
    """Return the rows and columns of patches (or tokens) of an image."""
    return tuple(side // model.patch_size for side in view_of(model, image).shape[:2])


def patch_at(point: Sequence[float], picture: np.ndarray, grid: Patch) -> Patch:
    """Return the patch at a point (x, y) of a picture."""
    found = [
        int(at * n / side) for at, n, side in zip(point[::-1], grid, picture.shape, strict=False)
    ]
    return tuple(min(max(at, 0), n - 1) for at, n in zip(found, grid, strict=True))


def toggled(mask: np.ndarray, patch: Patch, brush: int = 1) -> np.ndarray:
    """Return a mask (h, w) where a square of ``brush`` patches is as ``patch`` was not before."""
    rows, columns = (slice(max(at - (brush - 1) // 2, 0), at + brush // 2 + 1) for at in patch)
    mask = mask.copy()
    mask[rows, columns] = not mask[patch]
    return mask


def masked(model: Model, image: Any, mask: np.ndarray) -> np.ndarray:
    """Return the image as the encoder sees it, with masked patches gray."""
    return enlarged(mask_patches(view_of(model, image), mask))


def predict_masked(model: Model, image: Any, mask: np.ndarray) -> tuple:
    """Return pictures of the predicted and of the true tokens in masked patches, and a sentence.

    Without a mask, or where the tokenizer cannot decode, the pictures are None.
    """
    if not mask.any():
        return None, None, 'No patch is masked. Click on the picture, or draw a mask.'
    found = model.reconstruct([image], mask=mask, progress=False)
    right = int((found.predicted_ids == found.true_ids)[0][mask].sum())
    text = f'{right} of {mask.sum()} masked tokens are right.'
    if found.predicted is None:
        return None, None, f'{text} The tokenizer cannot decode, so there is no picture of them.'
    original = shown(found.original[0])
    pictures = [
        enlarged(paste_patches(original, shown(part[0]), mask))
        for part in (found.predicted, found.truth)
    ]
    return *pictures, f'{text} The true tokens are the best that it can reach.'


def show_tokens(model: Model, image: Any) -> tuple:
    """Return a map of the tokens, one color for each, what they decode to, or None, and a text."""
    found = model.tokenize([image], progress=False)
    ids = found.ids[0]
    colors = np.asarray(distinct_colors(found.vocab_size + 1), np.uint8)[1:]
    decoded = None
    if vocabulary_of(model.module).can_decode:
        decoded = enlarged(shown(model.detokenize(found)[0]))
    rows = [' '.join(f'{number:>5}' for number in row) for row in ids]
    text = f'{ids.size} tokens, {len(np.unique(ids))} different ones of {found.vocab_size}:'
    return enlarged(colors[ids]), decoded, '\n'.join([text, '```', *rows, '```'])


def attend(model: Model, image: Any, query: Patch | None, layer: int = -1) -> np.ndarray:
    """Return what a patch attends to in a layer, the mean of the heads; None is the class token."""
    found = model.attention([image], query=query, layer=layer, progress=False).maps[0].mean(0)
    picture = heat(enlarged(view_of(model, image)), found)
    return picture if query is None else mark_patch(picture, query, found.shape)


def classify(model: Model, image: Any, most: int = 5) -> dict[str, float]:
    """Return the probabilities of the likeliest classes by name."""
    found = model.classify([image], topk=most, progress=False)
    labels, scores = found.top()
    return {found.name_of(n): float(s) for n, s in zip(labels[0], scores[0], strict=True)}


def segment(model: Model, image: Any) -> tuple[np.ndarray, list[tuple[np.ndarray, str]]]:
    """Return the image, and for each predicted class the pixels (H, W) bool and its name.

    Black classes, such as a background, are left out.
    """
    found = model.segment([image], progress=False)
    ids, colors = enlarged(found.masks[0]), class_colors(model)
    parts = [(ids == n, found.names[n]) for n in np.unique(ids)]
    return enlarged(found.images[0]), [p for p in parts if colors.get(p[1]) != '#000000']


def class_colors(model: Model) -> dict[str, str]:
    """Return the color of each class in hexadecimal digits."""
    names = [*map(str, model.classes or ())]
    colors = model.palette or distinct_colors(len(names))
    return {name: '#' + bytes(rgb).hex() for name, rgb in zip(names, colors, strict=False)}
