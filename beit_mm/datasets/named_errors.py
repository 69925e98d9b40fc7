from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmcv.transforms import Compose as MMCVCompose
from mmcv.transforms import LoadAnnotations, LoadImageFromFile
from mmengine.dataset import Compose

from beit_mm.contracts import FileReader, UserError


class BadImageError(UserError, RuntimeError):
    """An image that cannot be read, or whose content a transform refuses in words."""


class NamedErrors:
    """A pipeline whose errors name the image, and what to do with it.

    Everything else is asked of ``pipeline``. Errors are those of :func:`run_transforms`.
    """

    def __init__(self, pipeline: Callable):
        self.pipeline = pipeline

    def __call__(self, info: Mapping) -> Any:
        return run_transforms(self.pipeline, info)

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def run_transforms(pipeline: Callable, info: Mapping) -> Any:
    """Return what ``pipeline`` makes of a sample, None as soon as a transform returns None.

    The transforms of a Compose run one by one; any other pipeline counts as one transform. Errors
    of samples without an ``img_path``, and those of a machine without memory, pass as they are.

    Raises:
        BadImageError: A transform that reads files failed, or one raised a UserError.
        RuntimeError: A transform has a defect.
    """
    path, mask, index = (info.get(key) for key in ('img_path', 'seg_map_path', 'sample_idx'))
    for transform in _steps(pipeline):
        try:
            info = transform(info)
        except MemoryError:
            raise
        except Exception as error:
            if path is None:
                raise
            raise _name_error(error, transform, path, index, mask) from error
        if info is None:
            return None
    return info


def _steps(pipeline: Callable) -> Iterator[Callable]:
    if type(pipeline) in (Compose, MMCVCompose):
        for transform in pipeline.transforms:
            yield from _steps(transform)
    else:
        yield pipeline


def _name_error(
    error: Exception, transform: Callable, path: str, index: int | None, mask: str | None
) -> Exception:
    """Return the error to raise where ``transform`` failed with ``error``."""
    cause = error if isinstance(error, UserError) else f'{type(error).__name__}: {error}'.strip()
    message = f'image {path!r} (sample {index}): {cause}'
    if isinstance(transform, LoadImageFromFile | LoadAnnotations | FileReader):
        if mask is not None and isinstance(transform, LoadAnnotations):
            message = f'mask {mask!r} of {message}'
        message += '; repair or remove the file, tools/check_dataset.py finds all such'
        if isinstance(transform, LoadImageFromFile) and path.lower().endswith(('.tif', '.tiff')):
            message += '; more than 4 channels need LoadMultiBandImage (docs/any_channels.md)'
        return BadImageError(message)
    return (BadImageError if isinstance(error, UserError) else RuntimeError)(message)
