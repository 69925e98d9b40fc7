"""The normalization of images, by the preprocessor or in the pipelines."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import find_transform, walk_pipelines
from beit_mm.preflight.config.parts import preprocessor_in

ONE_OR_THREE = ('ImgDataPreprocessor', 'SegDataPreProcessor')


def check_preprocessor(config: Config) -> Iterator[Finding]:
    """Yield wrong values of mean and std, and images normalized twice or not everywhere."""
    settings = preprocessor_in(config) or {}
    yield from _normalized_once(config, normalizes=settings.get('mean') is not None)
    yield from _mean(settings)
    yield from _range(config, settings)


def _normalized_once(config: Config, normalizes: bool) -> Iterator[Finding]:
    places = {}
    for key, pipeline in walk_pipelines(config):
        step = find_transform(pipeline, 'Normalize')
        places[key] = f'{key}.{step[0]}' if step else None
    without = [key for key, place in places.items() if place is None]
    for place in filter(None, places.values()):
        if normalizes:
            yield Finding(
                'error',
                place,
                'the images are normalized twice, here and by data_preprocessor.mean and std; '
                'remove one of them',
            )
        elif without:
            message = f'the images are normalized here, but not in {without[0]}; add it there'
            yield Finding('error', place, message)


def _mean(settings: dict) -> Iterator[Finding]:
    """Check the number of means: MMEngine's preprocessor and MMSegmentation's take one or three."""
    name, mean = settings.get('type'), settings.get('mean')
    if name in ONE_OR_THREE and isinstance(mean, Sequence) and len(mean) not in (1, 3):
        yield Finding(
            'error',
            'data_preprocessor.mean',
            f'{name} takes 1 or 3 values, here are {len(mean)}; set mean=None and std=None there, '
            "and add dict(type='Normalize', mean=[...], std=[...], to_rgb=False) to each pipeline",
        )


def _range(config: Config, settings: dict) -> Iterator[Finding]:
    """Find mean and std of images in [0, 1], where a loader of 8 bits leaves them in [0, 255]."""
    mean, std = (settings.get(name) for name in ('mean', 'std'))
    if not all(isinstance(v, list | tuple) and v for v in (mean, std)):
        return
    pipelines = [pipeline for _, pipeline in walk_pipelines(config, ('train_dataloader',))]
    if not any(find_transform(pipeline, 'LoadImageFromFile') for pipeline in pipelines):
        return
    if 0 < max(mean) <= 1 and max(std) <= 1:
        yield Finding(
            'warning',
            'data_preprocessor.mean',
            f'{list(mean)} and std={list(std)} are those of images in [0, 1], but these are in '
            '[0, 255]; multiply both by 255',
        )
