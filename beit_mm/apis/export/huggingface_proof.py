"""Load a folder for transformers as its users do, and compare."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from beit_mm.apis.export.images import Resizing, compare_pictures, draw_image, to_pixels
from beit_mm.apis.export.proof import compare, draw_batch, share_of_others
from beit_mm.apis.export.subject import Subject
from beit_mm.contracts import UserError
from beit_mm.contracts.packages import need

# What loads a model of a task; no AutoModel leads to BEiT's masked image modeling.
KINDS = dict(
    pretraining='BeitForMaskedImageModeling',
    classification='AutoModelForImageClassification',
    segmentation='AutoModelForSemanticSegmentation',
)


def load(folder: Path, kind: str) -> nn.Module:
    """Load a model of transformers in float32, and raise a UserError if weights are missing."""
    transformers = need('transformers', 'An export for transformers')
    model, info = attrgetter(kind)(transformers).from_pretrained(
        folder, output_loading_info=True, dtype=torch.float32
    )
    lost = {*info['missing_keys'], *info['mismatched_keys']}
    if kind == 'AutoModel':  # what it makes of the class token or the mean; compared below
        lost = {name for name in lost if not name.startswith('pooler.')}
    if lost:
        raise UserError(f'{kind} misses {sorted(lost)}; nothing was written')
    return model.eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers reports of weights that the loaded class has no place for."""
    logging = need('transformers', 'An export for transformers').utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@torch.no_grad()
def prove(subject: Subject, folder: Path) -> dict[str, float]:
    """Load the folder as its users do, and return the largest difference of each way."""
    with quiet():
        return prove_models(subject, folder) | prove_processor(subject, folder)


def prove_models(subject: Subject, folder: Path) -> dict[str, float]:
    x, mask = draw_batch(subject.in_channels, subject.size, subject.encoder.grid)
    ours = subject.compute(x)
    theirs = load(folder, 'AutoModel')(x)
    theirs = dict(tokens=theirs.last_hidden_state, pooled=theirs.pooler_output)
    if subject.encoder.norm is not None:
        del theirs['pooled']  # the class token
    found = dict(AutoModel=compare(theirs, ours, 'AutoModel'))
    kind = KINDS.get(subject.task)
    if kind is not None:
        masks = subject.task == 'pretraining'
        theirs = load(folder, kind)(x, **(dict(bool_masked_pos=mask.flatten(1)) if masks else {}))
        ours = subject.compute(x, mask) if masks else ours
        found[kind] = compare(dict(logits=theirs.logits), ours, kind)
    return found


def prove_processor(subject: Subject, folder: Path) -> dict[str, float]:
    """Compare what AutoImageProcessor makes of an image, and the pipelines that use it."""
    transformers = need('transformers', 'An export for transformers')
    resizing = Resizing.of(subject)
    image = draw_image(subject, resizing.source)  # (H, W, C)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    array = image if subject.in_channels == 3 else image.transpose(2, 0, 1)
    order = {} if subject.in_channels == 3 else dict(input_data_format='channels_first')
    theirs = processor(images=array, return_tensors='pt', **order)['pixel_values']
    pixels = subject.normalize(to_pixels(resizing.crop(image)))
    what = 'AutoImageProcessor'
    found = {what: compare(dict(pixels=theirs), dict(pixels=pixels), what)}
    if subject.in_channels == 3:
        found |= prove_pipelines(subject, folder, image, subject.compute(pixels))
    return found


def prove_pipelines(
    subject: Subject, folder: Path, image, ours: Mapping[str, Tensor]
) -> dict[str, float]:
    transformers = need('transformers', 'An export for transformers')
    picture = need('PIL.Image', 'An export for transformers').fromarray(image)

    def build(task: str):
        return transformers.pipeline(task, model=str(folder), device='cpu', dtype='float32')

    task = 'image-feature-extraction'
    extract = build(task)
    found = compare_pictures(
        subject, lambda image: torch.tensor(extract(image)), f'pipeline({task})'
    )
    number = ours['logits'].shape[1] if subject.task == 'classification' else 0
    if number > 1:  # of one, transformers makes a sigmoid
        task = 'image-classification'
        scores = torch.tensor([row['score'] for row in build(task)(picture, top_k=number)])
        expected = dict(scores=ours['logits'][0].softmax(-1).sort(descending=True).values)
        found[f'pipeline({task})'] = compare(dict(scores=scores), expected, task)
    if subject.task == 'segmentation':
        task = 'image-segmentation'
        logits = ours['logits']
        ids = F.interpolate(logits, subject.size, mode='bilinear')[0].argmax(0)
        names = subject.classes or [f'LABEL_{i}' for i in range(logits.shape[1])]
        first = torch.tensor([names.index(name) for name in names])  # some may have one name
        theirs, ids = torch.full_like(ids, -1), first[ids]
        for row in build(task)(picture):
            theirs[torch.from_numpy(np.array(row['mask']) > 0)] = names.index(row['label'])
        found[f'pipeline({task})'] = share_of_others(theirs, ids, task)
    return found
