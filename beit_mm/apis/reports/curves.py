"""Diagrams of runs: those of one task side by side in the same axes."""

import math
from collections.abc import Mapping, Sequence

from beit_mm.apis.reports.run import Run
from beit_mm.contracts.config_walk import is_number
from beit_mm.visualization import curve_of, curves_figure, to_svg
from beit_mm.visualization.figures.curves import MOST_INSIDE

SIZE = 440, 270  # pixels of a diagram
ROOM = 8  # more of them for each name below a diagram
LONGEST = 24  # letters of a name in it
# Label of a diagram -> scalars of the training and of the validation.
LOSS = ('loss', 'mim/loss')
PANELS = {
    'tokenizer': {
        'loss': LOSS,
        'reconstruction loss': ('loss_recon',),
        'codes used': ('codes_used', 'tokenizer/codes_used'),
        'perplexity of the codes': ('perplexity', 'tokenizer/perplexity'),
        'PSNR (dB)': ('tokenizer/psnr',),
    },
    'pretraining': {
        'loss (nats)': LOSS,
        'masked tokens predicted (%)': ('accuracy', 'mim/accuracy'),
        'explained variance': ('mim/explained_variance',),
        'kNN of features (%)': ('probe/knn',),
        'linear probe (%)': ('probe/linear',),
        'effective rank': ('probe/rank',),
    },
    'classification': {'loss': LOSS, 'accuracy (%)': ('accuracy/top1',)},
    'segmentation': {'loss': LOSS, 'mean IoU (%)': ('mIoU',), 'pixel accuracy (%)': ('aAcc',)},
    'training': {'loss': LOSS},
}


def draw_run_curves(runs: Sequence[Run]) -> dict[str, str]:
    """Return SVG diagrams of runs of one task, by their label; those without a point are left out.

    A dashed line is what chance reaches.
    """
    found = {}
    task = runs[0].task
    for label, names in PANELS[task].items():
        curves, levels = {}, {}
        for run in runs:
            for name in names:
                points = curve_of(run.log, name)
                if any(map(math.isfinite, points[1])):
                    kind = 'validation' if '/' in name or name in ('mIoU', 'aAcc') else 'training'
                    several = f'{_short(run)}: ' if len(runs) > 1 else ''
                    curves[f'{several}{kind}'] = points
            for name, height in chance_levels(run, label).items():
                differs = levels.get(name, height) != height
                levels[f'{_short(run)}: {name}' if differs else name] = height
        if curves:
            alone = [*curves][0] if len(curves) == 1 and len(runs) == 1 else ''
            text = f'{label}, {alone}' if alone else label
            size = SIZE[0], SIZE[1] + ROOM * len(curves) * (len(curves) > MOST_INSIDE)
            found[label] = to_svg(curves_figure({text: curves}, size=size, levels={text: levels}))
    return found


def chance_levels(run: Run, label: str) -> dict[str, float]:
    """Return what the best guess without a look at the image reaches in a diagram."""
    if label == 'loss (nats)':
        entropy = unigram_entropy(run)
        return {'chance (unigram entropy)': entropy} if entropy else {}
    if run.task == 'classification' and label == 'accuracy (%)' and (guess := blind_guess(run)):
        return {f'{guess[0]} ({guess[1]:.0f} %)': guess[1]}
    if run.task == 'pretraining' and label == 'explained variance':
        return {'chance': 0.0}
    return {}


def blind_guess(run: Run) -> tuple[str, float, int | None] | None:
    """Return name, accuracy (%) and number of images of the best answer without a look at them.

    The number is known, as how often each class comes, where the model was tested.
    """
    counts = [row.get('images') for row in run.per_class]
    counts = [n for n in counts if is_number(n) and 0 <= n < 1e12]
    if sum(counts) > 0:
        return 'always the largest class', 100 * max(counts) / sum(counts), sum(counts)
    classes = num_classes(run)
    return ('chance', 100 / classes, None) if classes else None


def unigram_entropy(run: Run) -> float | None:
    """Return the loss of the best prediction that is the same for all patches, in nats."""
    return run.metric('mim/unigram_entropy') or run.last('unigram_entropy')


def num_classes(run: Run) -> int | None:
    head = run.model.get('head') or run.model.get('decode_head') or {}
    number = head.get('num_classes') if isinstance(head, Mapping) else None
    return number if isinstance(number, int) and number > 1 else None


def _short(run: Run) -> str:
    return run.name if len(run.name) <= LONGEST else f'…{run.name[-LONGEST:]}'
