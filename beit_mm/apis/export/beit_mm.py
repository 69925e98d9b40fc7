"""A folder that ``load_model`` reads: model.safetensors with the description in its metadata."""

from dataclasses import replace
from pathlib import Path

from beit_mm.apis.export.images import draw_pixels
from beit_mm.apis.export.proof import compare, draw_batch, share_of_others
from beit_mm.apis.export.subject import Subject
from beit_mm.apis.load_model import load_model
from beit_mm.checkpoints import for_file, write_weights
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import walk_values
from beit_mm.contracts.packages import need

FILE = 'model.safetensors'


def adapt(subject: Subject) -> Subject:
    """Return the subject, or raise a UserError where nothing says how to build it again."""
    if 'architecture' not in subject.description:
        raise UserError(
            'The checkpoint does not say how its model is built, so an export of it could not be '
            'loaded; give the config of its training to load_model(..., config=...)'
        )
    return subject


def write(subject: Subject, folder: Path) -> None:
    need('safetensors', 'An export')
    weights = subject.module.state_dict()
    if subject.is_half:
        weights = {n: t.half() if t.is_floating_point() else t for n, t in weights.items()}
    write_weights(weights, folder / FILE, for_file(subject.description, FILE))


def prove(subject: Subject, folder: Path) -> dict[str, float]:
    """Load the folder, and return the largest difference of what it computes."""
    what = 'load_model'
    # What is in memory was allowed before.
    named = {str(value) for key, value in walk_values(subject.description) if key.endswith('.type')}
    loaded = Subject.of(load_model(folder, allow=named))
    size = subject.size or (4 * (subject.patch_size or 16),) * 2
    if subject.task == 'tokenizer':
        images = subject.normalize(draw_pixels(replace(subject, size=size), 2))
        ids = (part.module.encode(images) for part in (loaded, subject))
        return {what: share_of_others(*ids, what)}
    x, _ = draw_batch(subject.in_channels, size)
    return {what: compare(loaded.compute(x), subject.compute(x), what)}
