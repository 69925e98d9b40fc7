"""What labels and masks there are for the images of a chain, and whether they can be learned."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beit_mm.cli.own_folder.configs import Labels
from beit_mm.cli.own_folder.survey import EXTENSIONS
from beit_mm.contracts import UserError
from beit_mm.datasets import LabelledImageFolder, SegmentationFolder, UnlabelledImageFolder
from beit_mm.datasets.image_files import open_image
from beit_mm.datasets.label_table import read_label_table
from beit_mm.datasets.transforms import LoadSegmentationMask
from beit_mm.datasets.transforms.check_segmentation import describe_size_difference
from beit_mm.preflight.files.image_file import orientation_of

IGNORED = 255  # in masks


def read_labels(images: str, labels: str | None) -> Labels | None:
    """Return what is known of labelled images, None without labels."""
    if labels is None:
        return None
    path = Path(labels).expanduser().resolve()
    if path.is_dir():
        arguments = dict(data_root=str(path))
    else:
        arguments = dict(data_root=str(Path(images).expanduser().resolve()), labels=str(path))
        names = set(read_label_table(path).values())
        is_numbered = all(name.isdecimal() for name in names)
        if is_numbered and names != {str(number) for number in range(len(names))}:
            arguments['classes'] = sorted(names, key=int)  # not all up to the largest one
    dataset = LabelledImageFolder(**arguments, extensions=EXTENSIONS)
    counts = Counter(int(dataset.get_data_info(n)['gt_label']) for n in range(len(dataset)))
    check_validation(dataset)
    return Labels(arguments, [*dataset.metainfo['classes']], len(dataset), counts)


def read_masks(
    images: str, masks: str | None, classes: list[str] | None, suffix: str = ''
) -> Labels | None:
    """Return what is known of images with masks, None without masks.

    Raises:
        UserError: A mask has another size than its image, or a class that ``classes`` does not
            name, or there is one class alone.
    """
    if masks is None:
        return None
    arguments = dict(
        data_root=str(Path(images).expanduser().resolve()),
        mask_root=str(Path(masks).expanduser().resolve()),
        missing='skip',
    )
    arguments |= dict(mask_suffix=suffix) if suffix else {}
    dataset = SegmentationFolder(**arguments, extensions=EXTENSIONS)
    check_validation(dataset)
    load, highest, has_ignored = LoadSegmentationMask(), 0, False
    counts, pixels = Counter(), Counter()
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        mask = load.transform(dict(info))['gt_seg_map']
        size = find_size(info['img_path'])
        if wrong := size and describe_size_difference(mask.shape, size):
            raise UserError(f'{info["seg_map_path"]}: {wrong} ({info["img_path"]})')
        known = mask[mask != IGNORED]
        highest = max(highest, int(known.max(initial=0)))
        has_ignored |= known.size < mask.size
        for number, times in zip(*np.unique(known, return_counts=True), strict=True):
            counts[int(number)] += 1
            pixels[int(number)] += int(times)
    names = classes or [str(number) for number in range(highest + 1)]
    if len(names) <= highest or highest == 0:
        advice = f'. If {IGNORED} is a class here, save it as 1' if highest == 0 else ''
        raise UserError(
            f'--masks {masks}: masks have classes up to {highest}, and {len(names)} have names: '
            f'{names}. Two or more are expected; {IGNORED} is ignored{advice * has_ignored}'
        )
    weights = weigh_classes([pixels[number] for number in range(len(names))])
    return Labels(dict(arguments, classes=names), names, len(dataset), counts, weights)


def weigh_classes(pixels: Sequence[int]) -> list[float]:
    """Return the weight of each class in the loss: the inverse root of its share of the pixels.

    A class with the median of the pixels has 1, as have classes without a pixel; the least weight
    is 0.1, the largest 10. Without weights, a small network that trains for minutes answers the
    largest class everywhere.
    """
    pixels = np.array(pixels)
    seen, weights = pixels > 0, np.ones(len(pixels))
    weights[seen] = np.sqrt(np.median(pixels[seen]) / pixels[seen]).clip(0.1, 10)
    return [float(f'{weight:.2g}') for weight in weights]


def check_validation(dataset: UnlabelledImageFolder) -> None:
    """Raise a UserError if the part for the validation would have no samples."""
    dataset.part = 'val'
    dataset.take_part([*map(dataset.get_data_info, range(len(dataset)))])


def find_size(path: str) -> tuple[int, int] | None:
    """Return (H, W) of an image as it is loaded, from its header, or None if that does not tell."""
    try:
        if path.lower().endswith('.npy'):
            return np.load(path, mmap_mode='r').shape[:2]
        with open_image(path) as image:
            turn = orientation_of(image)
            if image.format == 'TIFF' and turn > 1:
                return None  # loaders differ
            return (image.width, image.height) if turn >= 5 else (image.height, image.width)
    except Exception:  # the loader of the training says what is wrong
        return None
