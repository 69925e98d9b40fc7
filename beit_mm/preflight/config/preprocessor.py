"""The normalization of images, by the preprocessor or in the pipelines."""

from collections.abc import Iterator, Sequence

from mmengine.config import Config

from beit_mm.contracts import Finding
from beit_mm.contracts.config_walk import find_transform, is_number, walk_pipelines
from beit_mm.preflight.config.parts import preprocessor_in, preprocessor_key

ONE_OR_THREE = ('ImgDataPreprocessor', 'SegDataPreProcessor')


def check_preprocessor(config: Config) -> Iterator[Finding]:
    """Yield wrong values of mean and std, and images normalized twice or not everywhere."""
    settings, key = preprocessor_in(config) or {}, preprocessor_key(config)
    yield from _normalized_once(config, key, normalizes=settings.get('mean') is not None)
    yield from _mean(settings, key)
    yield from _range(config, settings, key)


def _normalized_once(config: Config, key: str, normalizes: bool) -> Iterator[Finding]:
    places = {}
    for name, pipeline in walk_pipelines(config):
        step = find_transform(pipeline, 'Normalize')
        places[name] = f'{name}.{step[0]}' if step else None
    without = [name for name, place in places.items() if place is None]
    for place in filter(None, places.values()):
        if normalizes:
            yield Finding.warning(
                place,
                f'the images are normalized twice, here and by {key}.mean and std; '
                'remove one of them',
            )
        elif without:
            message = f'the images are normalized here, but not in {without[0]}; add it there'
            yield Finding.warning(place, message)


def _mean(settings: dict, key: str) -> Iterator[Finding]:
    """Check the number of means: MMEngine's preprocessor and MMSegmentation's take one or three."""
    name, mean = settings.get('type'), settings.get('mean')
    if name in ONE_OR_THREE and isinstance(mean, Sequence) and len(mean) not in (1, 3):
        yield Finding.error(
            f'{key}.mean',
            f'{name} takes 1 or 3 values, here are {len(mean)}; set mean=None and std=None there, '
            "and add dict(type='Normalize', mean=[...], std=[...], to_rgb=False) to each pipeline",
        )


def _range(config: Config, settings: dict, key: str) -> Iterator[Finding]:
    """Find mean and std of images in [0, 1], where a loader of 8 bits leaves them in [0, 255]."""
    mean, std = (settings.get(name) for name in ('mean', 'std'))
    for values in (mean, std):
        if not isinstance(values, list | tuple) or not values or not all(map(is_number, values)):
            return
    pipelines = [pipeline for _, pipeline in walk_pipelines(config, ('train_dataloader',))]
    if not any(find_transform(pipeline, 'LoadImageFromFile') for pipeline in pipelines):
        return
    if 0 < max(mean) <= 1 and max(std) <= 1:
        yield Finding.warning(
            f'{key}.mean',
            f'{list(mean)} and std={list(std)} are those of images in [0, 1], but these are in '
            '[0, 255]; multiply both by 255',
        )
