"""Checks of a segmentation mask: whether it fits its image, and its ids the classes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

from beit_mm.contracts import Finding
from beit_mm.datasets.transforms.check_segmentation import describe_size_difference
from beit_mm.datasets.transforms.load_segmentation_mask import (
    ONE_ID_A_PIXEL,
    describe_wrong_ids,
    map_ids,
    read_mask,
)
from beit_mm.preflight.files.image_file import ImageFacts, bits_of, decode, read_file

LOSSY = ('JPEG', 'MPO')
OF_A_CLASS = 10  # masks that are read before a class counts as missing


@dataclass(frozen=True)
class MaskRules:
    """How a data set reads masks.

    Attributes:
        num_classes: Valid ids are in [0, num_classes); None is not known.
        ignore_index: The id of pixels without a class.
        reduce_zero_label: Id 0 is ignored, and the others are one less.
        label_map: {id in the file: trained id}.
        wraps: The loader keeps 8 bits of each id (mmseg's LoadAnnotations).
        turns: The EXIF orientation of the image is applied to the image.
    """

    num_classes: int | None = None
    ignore_index: int = 255
    reduce_zero_label: bool = False
    label_map: dict | None = None
    wraps: bool = True
    turns: bool = True


def check_mask(
    path: str, image: ImageFacts | None, rules: MaskRules
) -> tuple[list[Finding], set[int]]:
    """Return all findings, and the classes in it; ``image`` is None if it could not be read."""
    content, finding = read_file(path, 'mask-')
    if content is None:
        return [finding], set()
    found = []
    bits = 8
    if PurePath(path).suffix.lower() == '.npy':
        if rules.wraps:
            message = 'mmseg.LoadAnnotations reads no arrays; take beit_mm.LoadSegmentationMask'
            return [Finding.error(path, message, 'mask-undecodable')], set()
    else:
        found, picture = decode(path, content, 'mask-')
        if picture is None:
            return found, set()
        if picture.mode not in ONE_ID_A_PIXEL:
            message = (
                f'is a picture of mode {picture.mode}, not one class id for each pixel; convert '
                'its colors or gray levels to ids, and save an 8-bit PNG of one channel'
            )
            kind = 'mask-alpha' if picture.mode in ('LA', 'PA', 'La') else 'mask-rgb'
            return [*found, Finding.error(path, message, kind)], set()
        bits = bits_of(content, picture)
        if picture.format in LOSSY:
            message = f'is {picture.format}, which changes ids at the edges of classes; write it '
            found.append(Finding.warning(path, f'{message}as PNG from the source', 'mask-lossy'))
    try:
        mask = read_mask(path, content)
    except ValueError as error:
        message = str(error).removeprefix(f'{path} ')
        return [*found, Finding.error(path, message, 'mask-undecodable')], set()
    if image is not None:
        found += _check_size(path, mask.shape, image, rules)
    seen: set[int] = set()
    found += _check_ids(path, mask, bits, rules, seen)
    return found, seen - {rules.ignore_index}


def describe_missing(
    seen: set[int], ignored: int, number: int, total: int, classes: int, names: Sequence[str]
) -> str | None:
    """Return what to do about classes that no mask has; None where too few were read to tell."""
    missing = sorted(set(range(classes)) - {*seen, ignored})
    if not missing or len(seen) < 2 or (number < total and number < OF_A_CLASS * classes):
        return None
    named = [str(n) if n >= len(names) else f'{n} ({names[n]})' for n in missing[:5]]
    return (
        f'none of {number} masks (of {total}) has class {", ".join(named)}, of {classes} classes. '
        'Add such images, or correct the masks, reduce_zero_label, or num_classes'
    )


def _check_size(
    path: str, mask: tuple[int, int], image: ImageFacts, rules: MaskRules
) -> Iterator[Finding]:
    turned = rules.turns and image.orientation > 1
    loaded = image.size[::-1] if turned and image.orientation >= 5 else image.size
    advice = (
        'turn the mask as well, or save the image upright and without EXIF orientation (or read '
        "it with color_type='color_ignore_orientation')"
    )
    if turned and mask == image.size and loaded != image.size:
        message = (
            f'is not turned, but its image is (EXIF orientation {image.orientation}); {advice}'
        )
        yield Finding.error(path, message, 'mask-exif')
    elif wrong := describe_size_difference(mask, loaded):
        transposed = mask == loaded[::-1]
        message = wrong.removeprefix('the mask ')
        kind = 'mask-transposed' if transposed else 'mask-size'
        yield Finding.error(path, message, kind)
    elif turned and (image.orientation < 5 or mask == image.size):
        message = (
            f'its image is turned by EXIF orientation {image.orientation}, and the sizes do not '
            f'tell if the mask is turned, too; look at it. If it is not: {advice}'
        )
        yield Finding.warning(path, message, 'mask-exif')


def _check_ids(
    path: str, mask: np.ndarray, bits: int, rules: MaskRules, seen: set[int]
) -> Iterator[Finding]:
    if 1 in mask.shape and rules.wraps:
        message = (
            f'has shape {mask.shape}, mmseg.LoadAnnotations drops the axis; remove it, or take '
            'beit_mm.LoadSegmentationMask'
        )
        yield Finding.error(path, message, 'mask-one-row')
    if mask.max() > 255 and rules.wraps:
        message = (
            f'has ids up to {mask.max()}, of which mmseg.LoadAnnotations keeps 8 bits (256 becomes '
            '0); correct the ids, or take beit_mm.LoadSegmentationMask'
        )
        yield Finding.error(path, message, 'mask-sixteen-bit')
        return
    if bits > 8 and rules.wraps:
        message = f'is stored with {bits} bits, its ids fit into 8; save it as an 8-bit PNG'
        yield Finding.note(path, message, 'mask-sixteen-bit')
    try:
        ids = map_ids(mask, rules.reduce_zero_label, rules.ignore_index, rules.label_map)
    except ValueError as error:
        yield Finding.error(path, str(error), 'mask-id-out-of-range')
        return
    if rules.num_classes is not None:
        if wrong := describe_wrong_ids(ids, rules.num_classes, rules.ignore_index):
            yield Finding.error(path, f'has {wrong}', 'mask-id-out-of-range')
            return
    seen.update(np.unique(ids).tolist())
    if ids.min() == ids.max():
        value, is_ignored = int(ids.min()), ids.min() == rules.ignore_index
        what = 'is ignored' if is_ignored else f'is class {value}'
        message = f'every pixel {what}; look if the mask has been written at all'
        finding = Finding.warning if is_ignored else Finding.note
        yield finding(path, message, 'mask-constant')
