"""Ids of masks that the loss cannot take are errors, and those it never sees are warnings."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, ConcatDataset

from beit_mm.datasets.transforms.load_segmentation_mask import read_mask
from beit_mm.preflight.run import masks
from beit_mm.preflight.run.masks import check_masks


class Masks(BaseDataset):
    def __init__(self, paths, **own):
        self.paths = paths
        super().__init__(pipeline=[], serialize_data=False)
        vars(self).update(own)

    def load_data_list(self):
        return [dict(seg_map_path=str(path)) for path in self.paths]


def found(tmp_path, ids, num_classes=2, ignore_index=255, **own) -> list[str]:
    model = torch.nn.Module()
    model.decode_head = torch.nn.Module()
    model.decode_head.num_classes, model.decode_head.ignore_index = num_classes, ignore_index
    for number, values in enumerate(ids):
        mask = np.resize(np.array(values, np.uint8), (4, 4))
        cv2.imwrite(str(tmp_path / f'{number}.png'), mask)
    paths = [tmp_path / f'{number}.png' for number in range(len(ids))]
    checked = check_masks(Masks(paths, **own), 'train_dataloader', model)
    return [f'{finding.level}: {finding.message}' for finding in checked]


@pytest.mark.parametrize(
    'ids, settings',
    [
        ([[0, 1]], {}),
        ([[0], [1]], {}),
        ([[0, 1, 255]], {}),
        ([[1, 2, 0]], dict(reduce_zero_label=True)),
        ([[0, 255]], dict(label_map={255: 1})),
        ([[0, 1, 254]], dict(ignore_index=254)),
        ([[0], [0]], dict(num_classes=1)),
    ],
)
def test_masks__that_fit(tmp_path, ids, settings):
    assert found(tmp_path, ids, **settings) == []


@pytest.mark.parametrize(
    'ids, settings, message',
    [
        ([[0, 255]], {}, 'warning: .* class 0 alone, of 2 classes; 255 is ignored'),
        ([[0], [0]], {}, 'warning: .* class 0 alone, of 2 classes$'),
        ([[255]], {}, 'warning: .* class none alone'),
        ([[0, 1], [2, 0]], {}, 'error: has class ids 2 '),
        ([[0, 1, 255]], dict(ignore_index=0), 'error: has class ids 255'),
        ([[1, 3]], dict(reduce_zero_label=True), 'error: has class ids 2 '),
    ],
)
def test_masks__that_do_not(tmp_path, ids, settings, message):
    import re

    told = found(tmp_path, ids, **settings)
    assert len(told) == 1 and re.match(message, told[0]), told


@pytest.mark.parametrize(
    'ids, settings, told',
    [
        ([[0, 1]] * 3, dict(num_classes=3), r'none of 3 masks \(of 3\) has class 2, of 3 classes'),
        ([[1, 2]], dict(num_classes=3), 'has class 0, of 3'),
        ([[0, 1, 2]] * 2, dict(num_classes=3, reduce_zero_label=True), 'has class 2, of 3'),
        ([[0, 1]] * 40 + [[2]], dict(num_classes=3), None),
        (
            [[0, 1]] * 250,
            dict(num_classes=3, most=200),
            r'none of 200 masks \(of 250\) has class 2',
        ),
        ([[0, 1]] * 250, dict(num_classes=30, most=16), None),
        ([[0, 1, 2]] * 250, dict(num_classes=3, most=16), None),
        ([[0, 1]] * 9, dict(num_classes=30), 'has class 2, 3, 4, 5, 6, of 30'),
    ],
)
def test_class__that_no_mask_has(tmp_path, monkeypatch, ids, settings, told):
    """Where all masks are read, or ten for each class; a rare class is not told."""
    import re

    read, most = [], settings.pop('most', len(ids))
    monkeypatch.setattr(masks, 'read_mask', lambda *a: read.append(a) or read_mask(*a))
    messages = found(tmp_path, ids, **settings)
    assert len(read) <= most
    assert len(messages) == bool(told) and (not told or re.search(told, messages[0])), messages


def test_class__that_the_other_data_set_has(tmp_path):
    parts = []
    for name, values in (('a', [0, 1]), ('b', [1, 2])):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / '0.png'), np.resize(np.uint8(values), (4, 4)))
        parts.append(Masks([tmp_path / name / '0.png']))
    model = torch.nn.Module()
    model.decode_head = torch.nn.Module()
    model.decode_head.num_classes = 3
    assert list(check_masks(ConcatDataset(parts), 'train_dataloader', model)) == []
