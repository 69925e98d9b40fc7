from collections.abc import Callable, Mapping
from traceback import walk_tb
from typing import Any, NoReturn

from mmcv.transforms import LoadAnnotations, LoadImageFromFile

from beit_mm.contracts import FileReader, UserError


class BadImageError(UserError, RuntimeError):
    """An image that cannot be read, or whose content a transform refuses in words."""


class NamedErrors:
    """A pipeline whose errors name the image, and what to do with it.

    Everything else is asked of ``pipeline``. Errors are those of :func:`raise_named`.
    """

    def __init__(self, pipeline: Callable):
        self.pipeline = pipeline

    def __call__(self, info: Mapping) -> Any:
        try:
            return self.pipeline(dict(info))
        except Exception as error:
            raise_named(error, info)

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def raise_named(error: Exception, info: Mapping) -> NoReturn:
    """Raise what a pipeline failed with again, with the image of sample ``info`` before it.

    Errors of samples without an ``img_path``, and those of a machine without memory, are raised as
    they are.

    Raises:
        BadImageError: A transform that reads files failed, or one raised a UserError.
        RuntimeError: A transform has a defect.
    """
    path, mask, index = (info.get(key) for key in ('img_path', 'seg_map_path', 'sample_idx'))
    if path is None or isinstance(error, MemoryError):
        raise error
    cause = error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'.strip()
    message = f'image {path!r} (sample {index}): {cause}'
    reader = _failed_reader(error)
    if reader is not None:
        if mask is not None and isinstance(reader, LoadAnnotations):
            message = f'mask {mask!r} of {message}'
        message += '; repair or remove the file, tools/check_dataset.py finds all such'
        if isinstance(reader, LoadImageFromFile) and path.lower().endswith(('.tif', '.tiff')):
            message += '; more than 4 channels need LoadMultiBandImage (docs/any_channels.md)'
        raise BadImageError(message) from error
    raise (BadImageError if isinstance(error, UserError) else RuntimeError)(message) from error


def _failed_reader(error: Exception) -> Callable | None:
    """Return the transform that was reading a file when ``error`` was raised, None without one."""
    for frame, _ in walk_tb(error.__traceback__):
        transform = frame.f_locals.get('self')
        if isinstance(transform, LoadImageFromFile | LoadAnnotations | FileReader):
            return transform
    return None
