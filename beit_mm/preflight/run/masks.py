"""What some masks of a data set hold, beside the classes and the ignored value of the head."""

from collections.abc import Iterator

import numpy as np
import torch.nn as nn
from mmengine.dataset import BaseDataset

from beit_mm.contracts import Finding
from beit_mm.contracts.sample_source import leaf_datasets
from beit_mm.datasets.transforms.load_segmentation_mask import (
    describe_wrong_ids,
    map_ids,
    read_mask,
)
from beit_mm.preflight.files.image_file import read_file

SOME = 16


def check_masks(dataset, key: str, model: nn.Module) -> Iterator[Finding]:
    """Yield ids of 16 masks of each data set that the loss cannot take, or that it never sees.

    Files that cannot be read are left to the training.
    """
    head = dict(model.named_children()).get('decode_head')
    own = {} if head is None else vars(head)  # of a class of another library
    classes, ignored = own.get('num_classes'), own.get('ignore_index', 255)
    if not isinstance(classes, int) or not isinstance(ignored, int):
        return
    for part in leaf_datasets(dataset):
        seen = set()
        for path, ids in _some_masks(part, ignored):
            if classes > 1 and (wrong := describe_wrong_ids(ids, classes, ignored)):
                yield Finding('error', path, f'has {wrong}')
                return
            seen |= set(np.unique(ids).tolist())
        if classes > 1 and seen and len(seen - {ignored}) < 2:
            only = ', '.join(map(str, sorted(seen - {ignored}))) or 'none'
            advice = (
                f'; {ignored} is ignored: if it is a class, write it as another id, or set '
                f'metainfo or label_map={{{ignored}: ...}} of the data set'
                if ignored in seen
                else ''
            )
            yield Finding(
                'warning',
                f'{key}.dataset',
                f'{SOME} of its masks have class {only} alone, of {classes} classes{advice}',
            )


def _some_masks(dataset, ignored: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the path and the trained ids of some masks."""
    if not isinstance(dataset, BaseDataset):
        return
    settings = vars(dataset)
    for place in np.linspace(0, len(dataset) - 1, min(SOME, len(dataset))).round().astype(int):
        path = dataset.get_data_info(int(place)).get('seg_map_path')
        content = None if path is None else read_file(path)[0]
        if content is None:
            continue
        reduces = bool(settings.get('reduce_zero_label'))
        try:
            yield (
                path,
                map_ids(read_mask(path, content), reduces, ignored, settings.get('label_map')),
            )
        except ValueError:
            continue
