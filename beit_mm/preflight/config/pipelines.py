"""Pipelines: whether all load alike, and whether masks go through what their images go through."""

from collections.abc import Iterator

from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import (
    DatasetConfig,
    class_name,
    find_transform,
    leaf_dataset_configs,
    steps_of,
    walk_pipelines,
)
from beit_mm.preflight.config.classes import find_class, package_of
from beit_mm.preflight.config.labels import MASK_LOADERS

# What makes the array that a model sees: loaders, and their arguments that change it.
COMPARED = (
    (
        'load',
        ('LoadImageFromFile', 'LoadMultiBandImage'),
        ('color_type', 'to_float32', 'channels', 'bands', 'layout', 'window'),
    ),
    ('normalize', ('Normalize',), ('mean', 'std', 'to_rgb')),
)
CONVERTED = ('exchanges red and blue', 'scales to [0, 1] by ToTensor')
CONVERSIONS = dict(NumpyToPIL='to_rgb', PILToNumpy='to_bgr')  # exchange channels if this is given
OF_8_BITS = ('PhotoMetricDistortion', 'ColorJitter', 'RGBJitter', 'AutoAugment', 'RandAugment')
MOVED = ('Resize', 'Crop', 'Flip', 'Rotate', 'Shear', 'Translate', 'Affine')  # parts of names


def check_pipelines(config: Config) -> Iterator[Finding]:
    """Yield pipelines that load otherwise than the first, and what moves images without masks."""
    yield from _loaders(config)
    yield from _conversions(config)
    for key, pipeline in walk_pipelines(config):
        yield from _bits(key, pipeline)
    # An evaluation resizes its images alone: predictions are compared in the size of the mask.
    for part in leaf_dataset_configs(config, ('train_dataloader',)):
        yield from _masks(part)


def _loaders(config: Config) -> Iterator[Finding]:
    """Compare how the training and the evaluations load and normalize images."""
    for verb, types, names in COMPARED:
        first = None
        for key, pipeline in walk_pipelines(config):
            step = next((one for name in types if (one := find_transform(pipeline, name))), None)
            if step is None:
                continue
            own = {name: step[1][name] for name in names if name in step[1]}
            own = dict(own, type=class_name(step[1]))
            if first is not None and own != first[1]:
                message = f'{verb}s by {own}, but {first[0]} by {first[1]}: the model sees other '
                yield Finding.warning(f'{key}.{step[0]}', f'{message}images; {verb} them alike')
            first = first or (key, own)


def _conversions(config: Config) -> Iterator[Finding]:
    """Compare the order and the scale of channels after conversions for torchvision."""
    first = None
    for key, pipeline in walk_pipelines(config):
        steps = {class_name(step): step for step in pipeline}
        swaps = [steps.get(name, {}).get(flag) for name, flag in CONVERSIONS.items()]
        own = (sum(map(bool, swaps)) % 2, 'torchvision/ToTensor' in steps)
        first = first or (key, own)
        for what, here, there in zip(CONVERTED, own, first[1], strict=True):
            if here != there:
                message = f'{what} in {key if here else first[0]} alone: the model sees other '
                yield Finding.warning(key, f'{message}images; convert them alike')


def _bits(key: str, pipeline: list) -> Iterator[Finding]:
    """Find steps for 8 bits behind the loader that keeps all bits."""
    loads = find_transform(pipeline, 'LoadMultiBandImage')
    for number, step in enumerate(pipeline) if loads else ():
        if class_name(step) in OF_8_BITS:
            told = f'{class_name(step)} cuts values to 0 to 255; LoadMultiBandImage keeps more '
            told += 'bits, or scales to [0, 1]: take BandJitter for such files'
            yield Finding.warning(f'{key}.{number}', told)


def _masks(part: DatasetConfig) -> Iterator[Finding]:
    """Find steps that move an image before its mask is loaded, or that know no masks."""
    pipeline = steps_of(part.config)
    loads = [n for n, step in enumerate(pipeline) if class_name(step) in MASK_LOADERS]
    for number, step in enumerate(pipeline) if loads else ():
        name, place = class_name(step), f'{part.key}.pipeline.{number}'
        if not any(word in name for word in MOVED) or 'Mask' in name:
            continue
        if number < loads[0]:
            told = f'moves the image before {class_name(pipeline[loads[0]])} reads its mask'
            yield Finding.warning(place, f'{name} {told}; put it behind')
        elif package_of(find_class(TRANSFORMS, step['type'], part.scope)) == 'mmpretrain':
            told = f"{name} of MMPretrain moves the image and not its mask; take MMSegmentation's"
            yield Finding.warning(place, told)
