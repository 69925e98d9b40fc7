"""Ids of masks that the loss cannot take are errors, and those it never sees are warnings."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset

from beit_mm.preflight.run import check_masks


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
