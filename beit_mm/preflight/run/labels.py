"""Whether a data set has samples, and no other classes and labels than the model."""

from collections import Counter
from collections.abc import Iterator, Sized

import numpy as np
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts import Finding
from beit_mm.contracts.sample_source import class_names, leaf_datasets
from beit_mm.datasets.label_table import explain_labels


def check_labels(dataset, key: str, model: nn.Module) -> Iterator[Finding]:
    """Yield an error for the first thing that is wrong, and a warning for missing classes."""
    place = f'{key}.dataset'
    if isinstance(dataset, Sized) and len(dataset) == 0:
        message = 'is empty; check its data_root, ann_file, data_prefix and suffixes'
        yield Finding.error(place, message)
        return
    name, num_classes = _num_classes(model)
    if num_classes is None:
        return
    classes = class_names(dataset)
    number = num_classes if classes is None else len(classes)
    found = f'has {number} classes, but {name}={num_classes}'
    if number > num_classes:
        message = f'{found}; set {name}={number}, or metainfo.classes of the data set'
        yield Finding.error(place, message)
        return
    if number < num_classes and key == 'train_dataloader':
        message = f'{found}: the others are never the answer; set {name}={number} if that is not '
        yield Finding.warning(place, f'{message}meant')
    yield from _wrong_labels(dataset, place, name, num_classes, number)


def _wrong_labels(
    dataset, place: str, name: str, num_classes: int, named: int
) -> Iterator[Finding]:
    wrong, examples, every, is_single = Counter(), [], set(), True
    for part in leaf_datasets(dataset):
        if not hasattr(part, 'get_data_info'):
            continue
        for index in range(len(part)):
            info = part.get_data_info(index)
            if 'gt_label' not in info:
                break  # a data set has them for all samples or for none
            labels = _as_list(info['gt_label'])
            if any(isinstance(label, str) for label in labels):
                return  # a transform makes numbers of them
            is_single &= len(labels) == 1
            bad = [label for label in labels if not 0 <= float(label) < num_classes]
            every.update(map(float, labels))
            wrong.update(bad)
            if bad and len(examples) < 3:
                examples.append(f'{info.get("img_path", f"sample {index}")} ({bad[0]})')
    if wrong:
        found = ', '.join(f'{label} ({n} samples)' for label, n in sorted(wrong.items())[:5])
        yield Finding.error(
            place,
            f'has labels {found}; with {name}={num_classes} they are 0 to {num_classes - 1}: '
            f'{", ".join(examples)}. Correct them in its ann_file, or {name}'
            + explain_labels(every, num_classes),
        )
    missing = [label for label in range(named) if label not in every]
    if every and missing and is_single and not wrong and place.startswith('train'):
        told = ', '.join(map(str, missing[:5])) + (', ...' if missing[5:] else '')
        message = f'no sample has the label {told}, with {name}={num_classes}; correct the labels, '
        yield Finding.warning(place, f'{message}or it, if such samples should be there')


def _num_classes(model: nn.Module) -> tuple[str, int | None]:
    """Return the config key of the number of classes, and its value, of any library's model."""
    for part in ('head', 'decode_head'):
        value = getattr(getattr(model, part, None), 'num_classes', None)
        if isinstance(value, int):
            return f'model.{part}.num_classes', value
    return 'model.head.num_classes', None


def _as_list(labels) -> list:
    labels = labels.tolist() if isinstance(labels, np.ndarray | Tensor) else labels
    return list(labels) if isinstance(labels, list | tuple) else [labels]
