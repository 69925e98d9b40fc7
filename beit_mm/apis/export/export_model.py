from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from mmengine.config import Config

from beit_mm.apis.export import beit_mm, huggingface, onnx, timm
from beit_mm.apis.export.images import OTHER_SIZE
from beit_mm.apis.export.model_card import write_card
from beit_mm.apis.export.new_folder import check_free, new_folder
from beit_mm.apis.export.subject import Subject
from beit_mm.apis.load_model import load_model
from beit_mm.apis.model import Model
from beit_mm.contracts import UserError

# Each has adapt(subject), write(subject, folder) and prove(subject, folder).
TARGETS: dict[str, ModuleType] = dict(
    huggingface=huggingface, timm=timm, onnx=onnx, beit_mm=beit_mm
)


@dataclass(frozen=True)
class Export:
    """What was written, and what its proof found.

    Attributes:
        task: Of the exported model; ``backbone`` where the target has no place for the head.
        differences: For each way of loading the folder, the largest difference of its outputs from
            ours, as a share of the largest output; of ids, the share that differs.
        notes: What the folder does not do.
    """

    folder: Path
    to: str
    task: str
    differences: dict[str, float]
    notes: list[str] = field(default_factory=list)

    @property
    def largest(self) -> float:
        """Return the largest difference that the proof judges."""
        return max(value for name, value in self.differences.items() if name != OTHER_SIZE)


def export(
    model: Model | str | Path,
    folder: str | Path,
    to: str = 'huggingface',
    ema: bool | None = None,
    half: bool = False,
    backbone: bool = False,
    size: Sequence[int] | None = None,
    overwrite: bool = False,
    config: str | Path | Config | None = None,
) -> Export:
    """Write a folder that another library loads by itself, after loading it for a proof.

    Args:
        model: What ``load_model`` returns or takes.
        folder: Appears when the proof has passed, and not at all otherwise.
        to: ``huggingface`` (transformers), ``timm``, ``onnx`` or ``beit_mm``.
        ema, config: As in ``load_model``.
        half: Store the weights in float16.
        backbone: Leave the head behind.
        size: (H, W) of the images, where it is not that of the training.
        overwrite: Replace the folder of an earlier export.

    Raises:
        MissingPackageError: The library of the target is not installed.
        UserError: The target has no place for this model, or computes something else.
    """
    if to not in TARGETS:
        raise UserError(f'to={to!r}: expected one of {", ".join(TARGETS)}')
    folder = Path(folder).expanduser()
    check_free(folder, overwrite)  # before anything is read
    if not isinstance(model, Model):
        model = load_model(model, config, ema=ema)
    elif ema is not None or config is not None:
        raise UserError('ema and config are for a model that is not loaded yet, for load_model')
    subject, target = Subject.of(model), TARGETS[to]
    if size is not None and to == 'beit_mm':
        raise UserError('size is for other libraries; load_model takes images of any size')
    subject = subject.as_backbone() if backbone else subject
    if subject.size is not None or size is not None:
        subject = subject.in_size(size or subject.size)
    subject = target.adapt(subject.in_half() if half else subject)
    with new_folder(folder, overwrite) as place:
        target.write(subject, place)
        differences = target.prove(subject, place)
        found = Export(folder, to, subject.task, differences, subject.notes)
        write_card(subject, found, model.source, place)
    return found
