from pathlib import PurePath

import numpy as np
from mmengine import fileio

from beit_mm.contracts import FileReader, UserError, some
from beit_mm.datasets.image_files import ImageTooLargeError, open_image
from beit_mm.datasets.transforms.load_multi_band_image import read_npy
from beit_mm.datasets.transforms.transform import Transform
from beit_mm.registry import TRANSFORMS

ONE_ID_A_PIXEL = ('1', 'L', 'P', 'I', 'I;16', 'I;16B', 'I;16L', 'I;16N')  # modes of Pillow


@TRANSFORMS.register_module()
class LoadSegmentationMask(FileReader, Transform):
    """Load a mask of class ids, or say why the file is none.

    Reads seg_map_path, reduce_zero_label and label_map; writes gt_seg_map (H, W) and adds it to
    seg_fields. Ids are those of mmseg's LoadAnnotations on all masks that both can read. Ids above
    255 stay what they are: the mask is uint16 then, else uint8. A mask of one row or one column
    stays two-dimensional. A file with more than one value for a pixel is an error. An image that is
    no sample of a data set, as inferencers load it, has no mask and passes unchanged.

    Files are .npy arrays (H, W) of whole numbers, and PNG, TIFF and all that Pillow reads with one
    channel of 1, 8 or 16 bits. With a palette, the id is the number in the palette.

    Args:
        num_classes: Ids must be below it, or ``ignore_index``; after reduce_zero_label and
            label_map. None leaves them to CheckSegmentation.
        reduce_zero_label: 0 becomes ``ignore_index`` and all other ids one less. None takes what
            the data set says.
        ignore_index: The id of pixels that do not count.
        backend_args: As in mmcv's LoadImageFromFile.

    Raises:
        FileNotFoundError: The file does not exist.
        UserError: It cannot be decoded, is no mask of class ids, or has ids out of range. The
            message names the file.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        reduce_zero_label: bool | None = None,
        ignore_index: int = 255,
        backend_args: dict | None = None,
    ):
        if num_classes is not None and num_classes > ignore_index >= 0:
            raise UserError(
                f'LoadSegmentationMask.num_classes={num_classes}, but ignore_index={ignore_index} '
                'is one of these classes; take an ignore_index that is none, here and in the loss '
                '(65535, for example)'
            )
        self.num_classes = num_classes
        self.reduce_zero_label = reduce_zero_label
        self.ignore_index = ignore_index
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        if is_bare_image(results):
            return results
        path = results['seg_map_path']
        asked, given = self.reduce_zero_label, results.get('reduce_zero_label')
        if None not in (asked, given) and asked != given:
            raise UserError(
                f'LoadSegmentationMask.reduce_zero_label={asked}, but the data set has '
                f'reduce_zero_label={given}; set it at the data set alone'
            )
        mask = read_mask(path, fileio.get(path, backend_args=self.backend_args))
        reduce = bool(given if asked is None else asked)
        try:
            mask = map_ids(mask, reduce, self.ignore_index, results.get('label_map'))
        except UserError as error:
            raise UserError(f'{path}: {error}') from None
        if self.num_classes is not None:
            if wrong := describe_wrong_ids(mask, self.num_classes, self.ignore_index):
                raise UserError(f'{path}: {wrong}')
        results['gt_seg_map'] = mask
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def is_bare_image(results: dict) -> bool:
    """Return whether ``results`` are an image that has no mask and is no sample of a data set.

    Data sets number their samples. Inferencers of mmseg give images alone to the test pipeline, of
    which they have removed no step but those that are named LoadAnnotations.
    """
    is_image = 'img' in results or 'img_path' in results
    return is_image and 'seg_map_path' not in results and 'sample_idx' not in results


def read_mask(path: str, content: bytes) -> np.ndarray:
    """Return the ids of the file: (H, W), uint8 or uint16."""
    if PurePath(path).suffix.lower() == '.npy':
        mask = _read_array(path, content)
    else:
        mask = _read_picture(path, content)
    if mask.size and (mask.min() < 0 or mask.max() > 65535):
        raise UserError(
            f'{path} has ids from {mask.min()} to {mask.max()}; class ids are 0 to 65535'
        )
    return mask.astype(np.uint16 if mask.size and mask.max() > 255 else np.uint8)


def _read_array(path: str, content: bytes) -> np.ndarray:
    mask = read_npy(path, content)
    if mask.ndim != 2 or mask.dtype.kind not in 'bui':
        raise UserError(
            f'{path} has shape {mask.shape} and type {mask.dtype}; a mask is an array (H, W) of '
            'whole numbers, the class of each pixel'
        )
    return mask.astype(np.int64) if mask.dtype.kind == 'b' else mask


def _read_picture(path: str, content: bytes) -> np.ndarray:
    try:
        with open_image(content) as image:
            mode, frames = image.mode, getattr(image, 'n_frames', 1)
            image.load()
            mask = np.asarray(image)
    except ImageTooLargeError as error:
        raise ImageTooLargeError(f'{path} {error}') from error
    except Exception as error:  # whatever a broken file makes of the decoder
        raise UserError(
            f'{path} ({len(content)} bytes) is not a mask that Pillow can read: {error}; repair or '
            'replace it'
        ) from error
    if mode not in ONE_ID_A_PIXEL:
        raise UserError(
            f'{path} is a picture of mode {mode}; a mask has one channel with the class id of each '
            'pixel. Convert its colors or gray levels to ids, and save those as an 8- or 16-bit '
            'PNG of one channel'
        )
    if frames > 1:
        raise UserError(f'{path} has {frames} frames; a mask has one')
    return mask.astype(np.int64) if mode in ('1', 'I') else mask


def map_ids(
    mask: np.ndarray, reduce_zero_label: bool, ignore_index: int, label_map: dict | None
) -> np.ndarray:
    """Return the ids that the loss sees, of the ids of the file."""
    if reduce_zero_label:
        if (mask == ignore_index + 1).any():
            raise UserError(
                f'reduce_zero_label makes id {ignore_index + 1} one less, which is '
                f'ignore_index={ignore_index}; take an ignore_index that is no class'
            )
        if ignore_index > np.iinfo(mask.dtype).max:
            mask = mask.astype(np.uint16)
        ignored = (mask == 0) | (mask == ignore_index)
        mask = np.where(ignored, mask.dtype.type(ignore_index), mask - (mask > 0))
    if label_map:
        old = mask
        mask = old.copy()
        for before, after in label_map.items():
            mask[old == before] = after
    return mask


def describe_wrong_ids(mask: np.ndarray, num_classes: int, ignore_index: int) -> str | None:
    """Return in words what is wrong with the ids of a mask, or None."""
    wrong = (mask >= num_classes) & (mask != ignore_index)
    if mask.dtype.kind == 'i':
        wrong |= mask < 0
    if not wrong.any():
        return None
    ids, counts = np.unique(mask[wrong], return_counts=True)
    named = [f'{i} ({n} pixels)' for i, n in zip(ids, counts, strict=True)]
    return (
        f'class ids {some(named, 5)}; with num_classes={num_classes} they are 0 to '
        f'{num_classes - 1}, or ignore_index={ignore_index}. Correct the mask, num_classes, or '
        'reduce_zero_label of the data set (it makes all ids one less and 0 ignored)'
    )
