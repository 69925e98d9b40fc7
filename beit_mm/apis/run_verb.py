"""A verb over many images: read, grouped by size, answered, what failed named and counted."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from beit_mm.apis.batch import Batch
from beit_mm.apis.images.find_images import find_images
from beit_mm.apis.images.image_reader import LoadedImage
from beit_mm.apis.results.result import Result, stacked
from beit_mm.apis.verbs import VERBS, Verb
from beit_mm.contracts import UserError
from beit_mm.contracts.tokenizer import check_integers
from beit_mm.progress import Progress

if TYPE_CHECKING:
    from beit_mm.apis.model import Model


def run_batches(
    model: 'Model',
    name: str,
    images: Any,
    arguments: Mapping[str, Any],
    batch_size: int = 32,
    workers: int = 0,
    errors: str | None = None,
    progress: bool | None = None,
) -> Iterator[Result]:
    """Yield the result of each batch; see ``Model.iter_batches``."""
    verb = verb_of(model.task, name)
    verb.check(model.module, **arguments)
    found, is_one = find_images(images)
    errors = errors or ('raise' if is_one else 'skip')
    if errors not in ('raise', 'skip'):
        raise UserError(f"errors={errors!r}: expected 'raise' or 'skip'")
    check_integers(name, 1, batch_size=batch_size)
    check_integers(name, 0, workers=workers)
    reader = model.reader(found, verb.keeps_pixels)
    loader = DataLoader(reader, batch_size, num_workers=workers, collate_fn=list)
    is_shown = len(loader) > 1 if progress is None else progress
    with Progress(name, len(found)) if is_shown else nullcontext() as bar:
        for loaded in loader:
            result = _answer(model, verb, loaded, arguments)
            if result.failed and errors == 'raise':
                raise UserError(next(iter(result.failed.values())))
            if is_shown:
                bar.step(len(loaded))
            yield result


def run_all(
    model: 'Model', name: str, images: Any, arguments: Mapping[str, Any], **options
) -> Result:
    """Return the result of all images, and name in the log those that were left out.

    Raises:
        UserError: None of them can be used.
    """
    parts = [*run_batches(model, name, images, arguments, **options)]
    result = type(parts[0]).joined(parts)
    if result.failed:
        count = f'{len(result.failed)} of {len(result.failed) + len(result)} images'
        reasons = [*result.failed.values()]
        if not len(result):
            raise UserError(f'{count} cannot be used. The first one: {reasons[0]}')
        lines = '\n  '.join(reasons)
        print_log(f'{count} were left out:\n  {lines}', logger='current', level=logging.WARNING)
    return result


def verb_of(task: str, name: str) -> Verb:
    """Return a verb, or raise a UserError if it does not fit the task."""
    if name not in VERBS:
        raise UserError(f'{name!r} is no verb; expected one of {", ".join(VERBS)}')
    verb = VERBS[name]
    if task not in verb.tasks:
        fitting = ', '.join(f'{other}()' for other, v in VERBS.items() if task in v.tasks)
        raise UserError(
            f'{name}() does not fit this model, whose task is {task}; it takes a model for '
            f'{" or ".join(verb.tasks)}. This one has {fitting}'
        )
    return verb


def _answer(
    model: 'Model', verb: Verb, loaded: list[LoadedImage], arguments: Mapping[str, Any]
) -> Result:
    """Return what a verb says of images that are read, in their order."""
    failed = {image.name: image.error for image in loaded if image.error is not None}
    groups: dict[Any, list[LoadedImage]] = {}
    for image in loaded:
        if image.error is None:
            groups.setdefault(image.shapes, []).append(image)
    rows: dict[int, dict] = {}
    for group in groups.values():
        try:
            found = _rows(model, verb, group, arguments)
        except UserError as error:
            failed |= {image.name: f'{image.name}: {error}' for image in group}
        else:
            rows |= {id(image): row for image, row in zip(group, found, strict=True)}
    kept = [image for image in loaded if id(image) in rows]
    columns = {}
    if kept:
        names = [name for name in verb.result.per_image if name in rows[id(kept[0])]]
        columns = {name: stacked([rows[id(image)][name] for image in kept]) for name in names}
    shared = verb.result.shared(model, arguments)
    return verb.result(files=[image.name for image in kept], failed=failed, **columns, **shared)


def _rows(model: 'Model', verb: Verb, group: list[LoadedImage], arguments: Mapping) -> list[dict]:
    """Return a row for each of some images of one size."""
    enabled = model.dtype is not None
    with torch.no_grad(), torch.autocast(model.device.type, model.dtype, enabled=enabled):
        batch = Batch.of(group, model.preprocessor, model.task == 'segmentation')
        return verb.rows(model.module, batch, **arguments)
