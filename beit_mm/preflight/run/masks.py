"""What some masks of a data set hold, beside the classes and the ignored value of the head."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch.nn as nn
from mmengine.dataset import BaseDataset

from beit_mm.contracts import Finding
from beit_mm.contracts.sample_source import class_names, leaf_datasets
from beit_mm.datasets.spread import spread
from beit_mm.datasets.transforms.load_segmentation_mask import (
    describe_wrong_ids,
    map_ids,
    read_mask,
)
from beit_mm.preflight.files.image_file import read_file
from beit_mm.preflight.files.mask_file import OF_A_CLASS, describe_missing

SOME = 16
MOST = 200  # masks that are read before a class counts as missing


def check_masks(dataset, key: str, model: nn.Module) -> Iterator[Finding]:
    """Yield ids of 16 masks of each data set that the loss cannot take, or that it never sees.

    In the training, up to 200 are read to find a class that none has. Where there are more masks,
    and more than 20 classes, some may be rare and nothing is said. Files that cannot be read are
    left to the training.
    """
    head = dict(model.named_children()).get('decode_head')
    own = {} if head is None else vars(head)  # of a class of another library
    classes, ignored = own.get('num_classes'), own.get('ignore_index', 255)
    if not isinstance(classes, int) or not isinstance(ignored, int):
        return
    trains, every, number, total = key.startswith('train'), set(), 0, 0
    for part in leaf_datasets(dataset):
        seen, own = set(), 0
        for path, ids in _some_masks(part, ignored, OF_A_CLASS * classes):
            if classes > 1 and (wrong := describe_wrong_ids(ids, classes, ignored)):
                yield Finding.error(path, f'has {wrong}')
                return
            seen |= set(np.unique(ids).tolist())
            own += 1
            if own >= SOME and not (trains and set(range(classes)) - {*every, *seen, ignored}):
                break
        if classes > 1 and seen and len(seen - {ignored}) < 2:
            yield _describe_single(seen, classes, ignored, f'{key}.dataset')
        every, number, total = every | seen, number + own, total + len(part)
    names = class_names(dataset) or ()
    message = describe_missing(every - {ignored}, ignored, number, total, classes, names)
    if trains and message:
        yield Finding.warning(f'{key}.dataset', message)


def _describe_single(seen: set[int], classes: int, ignored: int, key: str) -> Finding:
    only = ', '.join(map(str, sorted(seen - {ignored}))) or 'none'
    message = f'{SOME} of its masks have class {only} alone, of {classes} classes'
    if ignored in seen:
        message += (
            f'; {ignored} is ignored: if it is a class, write it as another id, or set metainfo or '
            f'label_map={{{ignored}: ...}} of the data set'
        )
    return Finding.warning(key, message)


def _some_masks(dataset, ignored: int, needed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the path and the trained ids of ``needed`` masks if these are few, else of some."""
    if not isinstance(dataset, BaseDataset):
        return
    settings = vars(dataset)
    most = MOST if min(needed, len(dataset)) <= MOST else SOME
    for place in np.random.default_rng(0).permutation(spread(len(dataset), most)):
        path = dataset.get_data_info(int(place)).get('seg_map_path')
        content = None if path is None else read_file(path)[0]
        if content is None:
            continue
        reduces, label_map = bool(settings.get('reduce_zero_label')), settings.get('label_map')
        with suppress(ValueError):
            yield path, map_ids(read_mask(path, content), reduces, ignored, label_map)
