from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from mmcv.transforms import LoadAnnotations, LoadImageFromFile


class BadImageError(RuntimeError):
    """An image that cannot be read, or whose content a transform refuses in words."""


class NamedErrors:
    """A pipeline whose errors name the image, and what to do with it.

    What it makes of a sample is that of ``pipeline``; everything else is asked of it as well.

    Raises:
        BadImageError: The image (or the mask) is bad.
        RuntimeError: A transform has a defect.
    """

    def __init__(self, pipeline: Callable):
        self.pipeline = pipeline

    def __call__(self, info: Mapping) -> Any:
        path, mask, index = (info.get(k) for k in ('img_path', 'seg_map_path', 'sample_idx'))
        try:
            return self.pipeline(info)
        except MemoryError:
            raise  # the machine's fault
        except Exception as error:
            if path is None:
                raise
            raise image_error(error, path, index, mask) from error

    def __getattr__(self, name: str) -> Any:
        if name == 'pipeline':  # not there yet, while it is unpickled
            raise AttributeError(name)
        return getattr(self.pipeline, name)


def image_error(error: Exception, path: str, idx: int | None, mask: str | None = None) -> Exception:
    """What is raised where the pipeline failed with ``error``: the image is bad, or the code is."""
    cause = f'{type(error).__name__}: {error}'.strip()
    message = f'image {path!r} (sample {idx}): {cause}'
    frames = list(_frames(error))
    readers = [owner for f in frames if _reads(owner := f.f_locals.get('self'))]
    if readers:
        if mask is not None and isinstance(readers[-1], LoadAnnotations):
            message = f'mask {mask!r} of {message}'
        advice = 'repair or remove the file, tools/check_dataset.py finds all such'
        opencv = any(isinstance(reader, LoadImageFromFile) for reader in readers)
        if opencv and path.lower().endswith(('.tif', '.tiff')):
            advice += '; more than 4 channels need LoadMultiBandImage (docs/any_channels.md)'
        return BadImageError(f'{message}; {advice}')
    if isinstance(error, ValueError) and _is_ours(frames[-1]):  # said in words for the user
        return BadImageError(message)
    return RuntimeError(message)


def _frames(error: Exception) -> Iterator[FrameType]:
    """The calls that led to ``error``, the innermost last."""
    place = error.__traceback__
    while place is not None:
        yield place.tb_frame
        place = place.tb_next


def _reads(owner) -> bool:
    """LoadMultiBandImage says it of itself."""
    known = isinstance(owner, (LoadImageFromFile, LoadAnnotations))
    return known or getattr(type(owner), 'reads_files', False)


def _is_ours(frame: FrameType) -> bool:
    return frame.f_globals['__name__'].split('.')[0] == 'beit_mm'
