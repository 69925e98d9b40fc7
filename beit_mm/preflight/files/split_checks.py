"""Checks of a data set as a whole: folders, labels and duplicates."""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from beit_mm.contracts import Finding
from beit_mm.datasets.image_folder import IMAGE_EXTENSIONS, OTHER_IMAGES, Walk
from beit_mm.datasets.label_table import explain_labels
from beit_mm.preflight.files.mask_file import describe_missing
from beit_mm.preflight.files.split import Split


def check_labels(split: Split) -> Iterator[Finding]:
    """Yield labels out of range and classes without samples."""
    seen = Counter(label for sample in split.samples for label in sample.labels)
    hint = explain_labels(seen, split.num_classes) if seen and split.num_classes else ''
    for sample in split.samples:
        wrong = [n for n in sample.labels if not 0 <= n < (split.num_classes or math.inf)]
        if wrong:
            message = (
                f'has label {wrong[0]:g}; with {split.num_classes} classes they are 0 to '
                f'{(split.num_classes or 0) - 1}. Correct it in ann_file, or num_classes of the '
                f'model and metainfo.classes of the data set{hint}'
            )
            yield Finding.error(sample.image, message, 'label-out-of-range')
    if not seen:
        return
    folders = {label: folder for folder, label in split.class_folders.items()}
    for label in range(split.num_classes or 0):
        if label in seen:
            continue
        name = split.classes[label] if split.classes else label
        if label in folders:
            message = f'no image of class {name!r} in its folder; copy them, or remove the folder'
            yield Finding.error(folders[label], message, 'empty-class')
        else:
            message = f'{split.key} has no sample of class {label} ({name})'
            yield Finding.warning(split.roots[0], message, 'class-without-samples')


def check_folders(split: Split) -> Iterator[Finding]:
    """Yield empty folders, and images in the folders that the data set does not read."""
    known = {os.path.realpath(sample.image) for sample in split.samples}
    known |= {os.path.realpath(sample.mask) for sample in split.samples if sample.mask}
    read = {os.path.splitext(path)[1].lower() for path in known}  # others: of another part
    passed = defaultdict(list)
    for root in (*split.roots, *split.mask_roots):
        walk = Walk(root)
        for folder, folders, files in walk if os.path.isdir(root) else ():
            if not folders and not files and folder not in split.class_folders:
                message = 'is empty; copy what belongs there, or remove it'
                yield Finding.warning(folder, message, 'empty-folder')
            if split.listed or root in split.mask_roots:
                continue
            for name in files:
                ending = os.path.splitext(name)[1].lower()
                path = os.path.join(folder, name)
                is_image = ending in (*IMAGE_EXTENSIONS, *OTHER_IMAGES)
                if is_image and ending not in read and os.path.realpath(path) not in known:
                    passed[ending].append(path)
        for folder, why in walk.unreadable.items():
            message = f'cannot be read ({why}), and what is in it is left out; correct permissions'
            yield Finding.error(folder, message, 'unreadable')
    for ending, paths in sorted(passed.items()):
        advice = OTHER_IMAGES.get(ending, 'rename them, or add the ending (extensions, img_suffix)')
        message = (
            f'and {len(paths) - 1} more files ending with {ending} are not read by {split.key}; '
            f'{advice}'
        )
        yield Finding.warning(paths[0], message, 'passed-over')


def check_classes(split: Split, found: list[set[int]]) -> Iterator[Finding]:
    """Yield classes that are in none of the masks, whose classes are ``found``."""
    seen, (number, total) = set().union(*found), (len(found), len(split.samples))
    classes, ignored = split.num_classes or 0, split.rules.ignore_index
    if message := describe_missing(seen, ignored, number, total, classes, split.classes or ()):
        yield Finding.warning(split.roots[0], message, 'class-without-samples')


def check_duplicates(files: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield images that are in one split twice, or in training and in an evaluation.

    Validation and test may be the same.

    Args:
        files: (name of the split, path, hash of the content) of all images.
    """
    groups = defaultdict(lambda: defaultdict(dict))  # hash -> split -> real path -> path
    for name, path, digest in files:
        groups[digest][name].setdefault(os.path.realpath(path), path)
    for splits in groups.values():
        for name, paths in splits.items():
            first, *others = paths.values()
            for path in others:
                message = f'has the same content as {first}, both in {name}'
                yield Finding.note(path, message, 'duplicate')
        training = splits.get('train', {})
        evaluated = {r: p for n in splits if n != 'train' for r, p in splits[n].items()}
        for real, path in evaluated.items() if training else ():
            same = 'is the same file as' if real in training else 'has the same content as'
            message = (
                f'{same} {training.get(real, next(iter(training.values())))} of the training set: '
                'what is measured on it is memory; remove one of them'
            )
            yield Finding.warning(path, message, 'duplicate-across-splits')


def check_mixed(values: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the first image of each kind but the most frequent one, of bands and types by path."""
    (usual, most), *others = Counter(filter(None, values.values())).most_common() or [('', 0)]
    for kind, number in others:
        path = next(path for path, found in values.items() if found == kind)
        message = (
            f'has {kind}, and so have {number - 1} more; {most} images have {usual}. They make no '
            'batch or have two scales: convert them, or set channels or bands of the loader'
        )
        yield Finding.warning(path, message, 'mixed-bands')
