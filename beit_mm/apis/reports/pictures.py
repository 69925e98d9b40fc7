"""What a model makes of images, as rows of pictures: uint8 RGB (H, W, 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from beit_mm.apis.images.find_images import find_images
from beit_mm.apis.model import Model
from beit_mm.apis.reports.run_data import RunData
from beit_mm.apis.results.reconstructions import Reconstructions, shown
from beit_mm.apis.results.segmentations import distinct_colors, draw_classes, legend_of
from beit_mm.contracts import UserError
from beit_mm.datasets.random_state import kept_random_state
from beit_mm.datasets.transforms import BlockwiseMask
from beit_mm.visualization import confusion_figure, paste_patches, to_svg

Rows = list[list[np.ndarray]]
RATIO = 0.4  # masked patches: BEiT, section 2.3
MOST_CLASSES = 20  # of a readable confusion matrix
QUERY = (0, 220, 255)  # no color of the heat map


@dataclass
class Pictures:
    """A section of a page.

    Attributes:
        titles: Of the columns.
        legend: Name and RGB color of each class.
        figure: An SVG document instead of rows.
        table: Cells in rows, the first one the heading.
    """

    heading: str
    note: str
    titles: Sequence[str] = ()
    rows: Rows = field(default_factory=list)
    legend: list[tuple[str, Sequence[int]]] = field(default_factory=list)
    figure: str | None = None
    table: list[list[str]] = field(default_factory=list)


def reconstructions(model: Model, images: Sequence) -> Pictures:
    """Draw images beside what their tokens say of them."""
    found = model.reconstruct([*images], progress=False)
    _can_draw(found.predicted)
    rows = [[shown(a), shown(b)] for a, b in zip(found.original, found.predicted, strict=True)]
    return Pictures(
        'Reconstructions',
        'Each image, and what its tokens alone say of it. What is missing here, no pre-training '
        'with this tokenizer can learn to predict.',
        ('image', 'from tokens'),
        rows,
    )


def masked_predictions(model: Model, images: Sequence) -> Pictures:
    """Draw masked patches from the tokens that are predicted for them."""
    masks = blockwise_masks([ids.shape for ids in model.tokenize([*images], progress=False).ids])
    pairs = zip(images, masks, strict=True)
    parts = [model.reconstruct([image], mask=mask, progress=False) for image, mask in pairs]
    found = Reconstructions.joined(parts)
    _can_draw(found.predicted)
    columns = ('original', 'masked', 'predicted', 'truth')
    rows = [[shown(row[name]) for name in columns] for row in found]
    for row, mask in zip(rows, found.mask, strict=True):  # what is seen stays as it is
        row[2] = paste_patches(row[0], row[2], mask)
    right, total = (sum(found.table()[name]) for name in ('right', 'masked'))
    return Pictures(
        'Masked patches and their prediction',
        f'{100 * RATIO:.0f} % of the patches are hidden. The model predicts their tokens from the '
        'rest; the best it can reach is the last column. Here it has '
        f'{right} of {total} tokens right.',
        ('image', 'masked', 'predicted', 'true tokens'),
        rows,
    )


def blockwise_masks(
    grids: Sequence[tuple[int, int]], share: float = RATIO, seed: int = 0
) -> list[np.ndarray]:
    """Draw a mask of BEiT with this share of the patches for each grid."""
    masks = []
    with kept_random_state(seed):
        for grid in grids:
            number = max(round(share * grid[0] * grid[1]), 1)
            transform = BlockwiseMask(
                grid=tuple(grid), num_masked=number, min_block=min(16, max(number // 3, 1))
            )
            masks.append(np.asarray(transform.transform({})['mask'], bool))
    return masks


def attention(model: Model, images: Sequence) -> Pictures:
    """Draw what the patch in the middle attends to, and the main components of the features."""
    views = [view_of(model, image) for image in images]
    features = [
        model.embed([image], pool='patches', progress=False).features[0].astype(np.float32)
        for image in images
    ]
    colors = main_components(features)
    rows = []
    for image, view, color in zip(images, views, colors, strict=True):
        query = tuple(side // 2 for side in color.shape[:2])
        maps = model.attention([image], query=query, progress=False).maps[0].mean(0)
        size = view.shape[1::-1]
        rows.append([
            mark_patch(view, query, color.shape[:2]),
            mark_patch(heat(view, maps), query, color.shape[:2]),
            cv2.resize(color, size, interpolation=cv2.INTER_NEAREST),
        ])  # fmt: skip
    return Pictures(
        'Attention and features',
        'What the marked patch attends to in the last layer (mean of the heads, bright is much), '
        'and the three main components of the patch features as red, green and blue: patches of '
        'one color are alike for the encoder.',
        ('image', 'attention', 'features (PCA)'),
        rows,
    )


def main_components(features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return maps (h, w, C) as colors (h, w, 3): the three main components of all of them."""
    flat = np.concatenate([f.reshape(-1, f.shape[-1]) for f in features])
    flat = flat - flat.mean(0)
    axes = np.linalg.svd(flat, full_matrices=False)[2][:3]
    values = flat @ axes.T
    low, high = np.percentile(values, [2, 98], axis=0)
    colors = ((values - low) / np.maximum(high - low, 1e-6)).clip(0, 1)
    colors = np.pad(colors, ((0, 0), (0, 3 - colors.shape[1])))
    ends = np.cumsum([f.shape[0] * f.shape[1] for f in features])[:-1]
    parts = np.split((colors * 255).round().astype(np.uint8), ends)
    return [part.reshape(*f.shape[:2], 3) for part, f in zip(parts, features, strict=True)]


def heat(view: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Lay a map (h, w) over an image in gray, black where it is 0."""
    from matplotlib import colormaps

    share = cv2.resize(maps / max(maps.max(), 1e-12), view.shape[1::-1], interpolation=0)
    colors = colormaps['inferno'](share)[..., :3] * 255
    gray = view.mean(2, keepdims=True)
    return (0.3 * gray + 0.7 * colors).round().clip(0, 255).astype(np.uint8)


def mark_patch(view: np.ndarray, query: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """Return an image with a frame around one patch of the grid (h, w)."""
    tall, wide = (side / patches for side, patches in zip(view.shape, grid, strict=False))
    start = round(query[1] * wide), round(query[0] * tall)
    end = round((query[1] + 1) * wide) - 1, round((query[0] + 1) * tall) - 1
    thick = max(min(view.shape[:2]) // 100, 1)
    return cv2.rectangle(view.copy(), start, end, QUERY, thick)


def view_of(model: Model, image: Any) -> np.ndarray:
    """Return an image as the encoder sees it, before the normalization, to be shown."""
    reader = model.reader(find_images([image])[0])
    loaded = reader[0]
    if loaded.error:
        raise UserError(loaded.error)
    return reader.arrays.to_rgb(loaded.inputs.numpy().transpose(1, 2, 0))


def segmentations(
    models: dict[str, Model], images: Sequence, truths: Sequence[np.ndarray | None]
) -> Pictures:
    """Draw the classes of pixels as colors over the images, of one model or of several."""
    model = next(iter(models.values()))
    found = {name: m.segment([*images], progress=False) for name, m in models.items()}
    first = next(iter(found.values()))
    has_truth = all(truth is not None for truth in truths)
    columns = [[*truths]] * has_truth + [[*result.masks] for result in found.values()]
    palette = model.palette or distinct_colors(len(first.names))
    rows = [
        [image, *(draw_classes(image, mask, palette) for mask in masks)]
        for image, *masks in zip(first.images, *columns, strict=True)
    ]
    seen = {int(label) for column in columns for mask in column for label in np.unique(mask)}
    return Pictures(
        'Segmentations',
        'The predicted class of each pixel over the image' + ', beside the truth' * has_truth + '.',
        ('image', *['truth'] * has_truth, *found),
        rows,
        legend=legend_of(first.names, palette, seen),
    )


def confusion(model: Model, data: RunData, most: int) -> Pictures:
    """Count which classes are taken for which, on at most ``most`` images of a data set."""
    samples = [(data.image(place), data.label(place)) for place in data.spread(most)]
    samples = [sample for sample in samples if sample[1] is not None]
    if not samples:
        raise UserError(f'{data.part.key} has no labels')
    found = model.classify([image for image, _ in samples], progress=False)
    true = [label for _, label in samples]
    if found.failed:
        true = [label for image, label in samples if image not in found.failed]
    size = max(found.pred_scores.shape[1], max(true) + 1)
    names = [found.name_of(number) for number in range(size)]
    counts = np.zeros((size, size), int)
    np.add.at(counts, (true, found.pred_label), 1)
    right = int(np.trace(counts))
    share = 100 * right / len(true)
    note = f'{right} of {len(true)} {data.kind} images are right ({share:.1f} %).'
    wrong = counts - np.diag(np.diag(counts))
    order = [np.unravel_index(n, wrong.shape) for n in np.argsort(-wrong, axis=None)[:5]]
    worst = [[names[a], names[b], str(wrong[a, b])] for a, b in order if wrong[a, b]]
    return Pictures(
        'Confusion matrix',
        note + (' Rows are the true classes.' if size <= MOST_CLASSES else ''),
        figure=to_svg(confusion_figure(counts, names)) if size <= MOST_CLASSES else None,
        table=[['true class', 'taken for', 'images'], *worst] if worst else [],
    )


def attempt(notes: list[str], draw: Callable[..., Pictures], *args) -> list[Pictures]:
    """Return the section that ``draw`` makes, or none and say in ``notes`` why."""
    try:
        return [draw(*args)]
    except Exception as error:  # a report goes on without a picture, whatever is wrong with it
        kind = '' if isinstance(error, UserError) else f'{type(error).__name__}: '
        notes.append(f'No {draw.__name__.replace("_", " ")}: {kind}{error}')
        return []


def _can_draw(pictures) -> None:
    if pictures is None:
        raise UserError(
            'the tokenizer cannot decode: its tokens stand for features, not for pixels'
        )
