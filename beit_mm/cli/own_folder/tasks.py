"""What labels and masks there are for the images of a chain, and whether they can be learned."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from beit_mm.cli.own_folder.configs import Labels
from beit_mm.cli.own_folder.survey import EXTENSIONS, Survey
from beit_mm.contracts import UserError
from beit_mm.datasets import LabelledImageFolder, SegmentationFolder
from beit_mm.datasets.image_files import open_image
from beit_mm.datasets.label_table import number_labels, read_label_table
from beit_mm.datasets.part import PARTS, take_part
from beit_mm.datasets.transforms import LoadSegmentationMask
from beit_mm.datasets.transforms.check_segmentation import describe_size_difference
from beit_mm.preflight.files.image_file import orientation_of

IGNORED = 255  # in masks
VAL_SHARE = 0.2  # as in the shipped configs


def read_labels(images: str, labels: str | None, survey: Survey) -> Labels | None:
    """Return what is known of labelled images that are not broken, None without labels."""
    if labels is None:
        return None
    path = Path(labels).expanduser().resolve()
    if path.is_dir():
        arguments = dict(data_root=str(path))
    else:
        arguments = dict(data_root=str(Path(images).expanduser().resolve()), labels=str(path))
        table = read_label_table(path)
        names, numbers = {*table.values()}, {*number_labels(table).values()}
        is_numbered = all(name.isdecimal() for name in numbers) and len(names) == len(numbers)
        if is_numbered and names != {str(number) for number in range(len(names))}:
            arguments['classes'] = sorted(names, key=float)  # not all up to the largest one
    leave_out(arguments, survey)
    dataset = LabelledImageFolder(**arguments, extensions=EXTENSIONS)
    counts = Counter(int(dataset.get_data_info(n)['gt_label']) for n in range(len(dataset)))
    dataset.part = 'val'
    dataset.take_part([*map(dataset.get_data_info, range(len(dataset)))])  # or raise an error
    return Labels(arguments, [*dataset.metainfo['classes']], len(dataset), counts)


def read_masks(
    images: str,
    masks: str | None,
    survey: Survey,
    classes: list[str] | None = None,
    suffix: str = '',
) -> Labels | None:
    """Return what is known of images with masks that are not broken, None without masks.

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
    leave_out(arguments, survey)
    dataset = SegmentationFolder(**arguments, extensions=EXTENSIONS)
    load, highest, has_ignored = LoadSegmentationMask(), 0, False
    found, pixels = {}, Counter()  # the classes of each image, and of all
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        mask = load.transform(dict(info))['gt_seg_map']
        size = find_size(info['img_path'])
        if wrong := size and describe_size_difference(mask.shape, size):
            raise UserError(f'{info["seg_map_path"]}: {wrong} ({info["img_path"]})')
        known = mask[mask != IGNORED]
        highest = max(highest, int(known.max(initial=0)))
        has_ignored |= known.size < mask.size
        numbers, times = (values.tolist() for values in np.unique(known, return_counts=True))
        found[Path(info['img_path']).relative_to(arguments['data_root']).as_posix()] = numbers
        pixels.update(dict(zip(numbers, times, strict=True)))
    names = classes or [str(number) for number in range(highest + 1)]
    if len(names) <= highest or len(pixels) < 2:
        advice = f'. If {IGNORED} is a class here, save it as 1' if highest == 0 else ''
        raise UserError(
            f'--masks {masks}: masks have the classes {sorted(pixels)[:20]}, and {len(names)} have '
            f'names: {names}. Two or more are expected; {IGNORED} is ignored{advice * has_ignored}'
        )
    weights = weigh_classes([pixels[number] for number in range(len(names))])
    counts = Counter(number for numbers in found.values() for number in numbers)
    arguments['classes'] = names
    parts = divide(found, counts)
    labels = Labels(arguments, names, len(dataset), counts, weights, parts)
    for part, images in parts.items():
        seen = {number for image in images for number in found[image]}
        labels.missing[part] = [names[n] for n in sorted(counts) if counts[n] > 1 and n not in seen]
    return labels


def divide(found: dict[str, list[int]], counts: Counter) -> dict[str, list[str]]:
    """Return the images for 'train' and for 'val', the same share of each rare class.

    Args:
        found: Classes in the mask of each image.
        counts: Images of each class.
    """
    names = [*found]
    if any(name != name.strip() for name in names):
        return {}  # lists have no such names; the data set divides them by itself
    rarest = [min(numbers, key=counts.get, default=None) for numbers in found.values()]
    sizes = Counter(rarest)
    rarest = [None if sizes[number] == 1 else number for number in rarest]  # divided together
    return {part: [names[i] for i in take_part(names, rarest, part, VAL_SHARE)] for part in PARTS}


def leave_out(arguments: dict, survey: Survey) -> None:
    if broken := survey.broken_below(arguments['data_root']):
        arguments['exclude'] = broken


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
