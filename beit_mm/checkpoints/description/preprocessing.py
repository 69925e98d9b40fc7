"""How images become the input of a model: the part of a pipeline that a prediction repeats."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beit_mm.checkpoints.description.architecture import plain_config
from beit_mm.contracts.config_walk import class_name, walk_pipelines
from beit_mm.registry import TRANSFORMS

# Loading of labels, masks of a pre-training, changes that are drawn, packing.
LEFT_OUT = (
    *('LoadAnnotations', 'LoadSegmentationMask', 'CheckSegmentation', 'BlockwiseMask'),
    *('BandJitter', 'RGBJitter', 'PhotoMetricDistortion', 'ColorJitter', 'Lighting'),
    *(
        'RandAugment',
        'AutoAugment',
        'GaussianBlur',
        'Solarize',
        'GenerateEdge',
        'ResizeMix',
        'Collect',
    ),
)
CENTERED = 'beit_mm.TwoViewResizedCrop'


def preprocessing_of(config: Mapping) -> dict[str, Any] | None:
    """Return ``pipeline``, and ``size`` and ``token_size`` (H, W) where it fixes them.

    It is the pipeline of the test, else of the validation, else of the training. Random crops of
    it become the largest crop in the center. None if there is none.

    Raises:
        NotPlainError: A transform is no config of plain values.
    """
    for loader in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        for _, pipeline in walk_pipelines(config, (loader,)):
            steps = [
                plain_config(step, config.get('default_scope'), TRANSFORMS)
                for step in _flat(pipeline)
                if not _is_left_out(class_name(step))
            ]
            steps = [_centered(step) for step in steps]
            return dict(pipeline=steps, **_sizes(steps))
    return None


def centered_crop(size: Sequence[int], **options) -> dict[str, Any]:
    """Return the config of a resize of the largest crop of this shape in the center."""
    ratio = size[1] / size[0]
    return dict(type=CENTERED, size=[*size], scale=None, ratio=[ratio, ratio], **options)


def for_part(description: Mapping, size: Sequence[int], is_whole: bool) -> dict[str, Any]:
    """Return a description, changed to that of an encoder for images of another size.

    Args:
        size: (H, W)
        is_whole: All parts of the model are still there; else only its encoder is.
    """
    found = dict(description)
    architecture = found.get('architecture')
    backbone = architecture.get('backbone') if isinstance(architecture, Mapping) else None
    if not isinstance(backbone, Mapping):
        return found
    backbone = dict(backbone, img_size=[*size])
    if is_whole:
        found['architecture'] = dict(architecture, backbone=backbone)
    else:
        found.update(task='backbone', architecture=backbone)
        found.pop('classes', None)
        found.pop('palette', None)
    facts = found.get('preprocessing')
    if isinstance(facts, Mapping) and facts.get('size') not in (None, [*size]):
        loaders = [step for step in facts.get('pipeline', []) if 'Load' in class_name(step)]
        steps = [*loaders, centered_crop(size)]
        found['preprocessing'] = dict(facts, size=[*size], pipeline=steps)
    return found


def _flat(pipeline: Sequence) -> Iterator[Any]:
    for step in pipeline:
        if class_name(step) in ('Compose', 'TransformBroadcaster') and 'transforms' in step:
            yield from _flat(step['transforms'])
        else:
            yield step


def _is_left_out(name: str) -> bool:
    is_drawn = name.startswith('Random') and name not in ('RandomResizedCrop', 'RandomResize')
    return name in LEFT_OUT or name.startswith('Pack') or is_drawn


def _centered(step: dict[str, Any]) -> dict[str, Any]:
    name = class_name(step)
    if name in ('RandomResizedCrop', 'TwoViewResizedCrop'):
        size = _pair(step.get('size', step.get('scale')))
        names = ('interpolation', 'token_size', 'token_interpolation')
        options = {key: step[key] for key in names if key in step}
        if name == 'RandomResizedCrop':
            options.setdefault('interpolation', 'bilinear')
        return centered_crop(size, **options)
    if name == 'LoadReducedImage':
        return dict(type='LoadImageFromFile', backend_args=step.get('backend_args'))
    if name == 'RandomResize':
        kept = ('scale', 'keep_ratio', 'backend', 'interpolation')
        return dict(type='Resize', **{key: step[key] for key in kept if key in step})
    return step


def _sizes(steps: list[dict[str, Any]]) -> dict[str, list[int]]:
    found = {}
    for step in steps:
        name = class_name(step)
        if name == 'TwoViewResizedCrop':
            found['size'] = step['size']
            if step.get('token_size') is not None:
                found['token_size'] = _pair(step['token_size'])
        elif name == 'CenterCrop' and step.get('crop_size'):
            found['size'] = _pair(step['crop_size'])
        elif name == 'Resize' and step.get('scale') and not step.get('keep_ratio'):
            found['size'] = _pair(step['scale'])[::-1]  # (width, height)
    return found


def _pair(size: int | Sequence[int]) -> list[int]:
    return [size, size] if isinstance(size, int) else [*size]
