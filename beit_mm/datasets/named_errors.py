from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from mmcv.transforms import Compose as MMCVCompose
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import Compose

from beit_mm.contracts import FileReader, UserError
from beit_mm.datasets import transforms
from beit_mm.datasets.image_files import check_image_file


class BadImageError(UserError, RuntimeError):
    """An image that cannot be read, or whose content a transform refuses in words."""


class NamedErrors:
    """A pipeline whose errors name the image, and what to do with it.

    Everything else is asked of ``pipeline``. Errors are those of :func:`call_named`.
    """

    def __init__(self, pipeline: Callable):
        self.pipeline = pipeline

    def __call__(self, info: Mapping) -> Any:
        return call_named(self.pipeline, info)

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def call_named(pipeline: Callable, info: Mapping) -> Any:
    """Return what ``pipeline`` makes of sample ``info``.

    Errors of samples without an ``img_path``, and those of a machine without memory, are raised as
    they are.

    Raises:
        BadImageError: The image or mask would fill the memory, a transform that reads files failed,
            or one raised a UserError.
        RuntimeError: A transform has a defect.
    """
    _check_files(pipeline, info)
    try:
        return pipeline(dict(info))
    except Exception as error:
        _raise_named(error, pipeline, info)


def _check_files(pipeline: Callable, info: Mapping) -> None:
    """Raise a BadImageError if the image or mask of a sample would fill the memory."""
    checks_itself = isinstance(next(_steps(pipeline), None), transforms.LoadImageFromFile)
    for key in ('seg_map_path',) if checks_itself else ('img_path', 'seg_map_path'):
        try:
            if info.get(key) is not None:
                check_image_file(info[key])
        except UserError as error:
            where = f'{info[key]!r} (sample {info.get("sample_idx")})'
            what = 'image' if key == 'img_path' else 'mask'
            raise BadImageError(f'{what} {where} {error}') from error


def _raise_named(error: Exception, pipeline: Callable, info: Mapping) -> NoReturn:
    """Raise what ``pipeline`` failed with again, with the image of sample ``info`` before it."""
    path, mask, index = (info.get(key) for key in ('img_path', 'seg_map_path', 'sample_idx'))
    if path is None or isinstance(error, MemoryError):
        raise error
    cause = error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'.strip()
    message = f'image {path!r} (sample {index}): {cause}'
    failed = _failed_transform(error, pipeline, info)
    if isinstance(failed, LoadImageFromFile | LoadAnnotations | FileReader):
        if mask is not None and isinstance(failed, LoadAnnotations):
            message = f'mask {mask!r} of {message}'
        message += '; repair or remove the file, tools/check_dataset.py finds all such'
        if isinstance(failed, LoadImageFromFile) and path.lower().endswith(('.tif', '.tiff')):
            message += '; more than 4 channels need LoadMultiBandImage (docs/any_channels.md)'
        raise BadImageError(message) from error
    raise (BadImageError if isinstance(error, UserError) else RuntimeError)(message) from error


def _failed_transform(error: Exception, pipeline: Callable, info: Mapping) -> Callable | None:
    """Return the transform that fails again as it did, one by one; None if none does."""
    results = dict(info)
    for transform in _steps(pipeline):
        try:
            results = transform(results)
        except Exception as again:
            return transform if type(again) is type(error) else None
        if results is None:
            return None
    return None


def _steps(pipeline: Callable) -> Iterator[Callable]:
    if type(pipeline) in (Compose, MMCVCompose):
        for transform in pipeline.transforms:
            yield from _steps(transform)
    else:
        yield pipeline
