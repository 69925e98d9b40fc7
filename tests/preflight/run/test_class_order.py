"""Names of classes that say another number than the folders that the labels come from."""

import pytest
from mmengine.dataset import BaseDataset

from beit_mm.preflight.run.class_order import check_class_order


class Folders(BaseDataset):
    """As mmpretrain's CustomDataset: labels by folder, names by metainfo."""

    def __init__(self, folders, classes):
        self.folder_to_idx = {name: number for number, name in enumerate(sorted(folders))}
        super().__init__(metainfo=dict(classes=classes), lazy_init=True, pipeline=[])


def told(folders, classes):
    found = check_class_order(dict(train_dataloader=Folders(folders, classes)))
    return [f'{finding.level}: {finding.message}' for finding in found]


@pytest.mark.parametrize(
    'folders, classes, message',
    [
        (['cat', 'dog'], ['dog', 'cat'], "class 0 is 'dog', but its folder 'dog' has the number 1"),
        (['Cat', 'dog'], ['dog', 'cat'], "class 0 is 'dog', but its folder 'dog' has the number 1"),
        (['cat', 'dog'], ['Dog', 'CAT'], "class 0 is 'Dog', but its folder 'dog'"),
        (['Zebra', 'ant'], ['ant', 'zebra'], "class 0 is 'ant', but its folder 'ant'"),
        (['big_cat', 'dog'], ['dog', 'Big Cat'], "but its folder 'dog'"),
        (['a', 'b', 'c'], ['a', 'c', 'x'], "class 1 is 'c', but its folder 'c' has the number 2"),
        (['1', '10', '2'], ['1', '2', '10'], "class 1 is '2', but its folder '2' has the number 2"),
        (['A', 'a'], ['a', 'A'], "class 0 is 'a', but its folder 'a' has the number 1"),
    ],
)
def test_order__other_than_that_of_the_folders(folders, classes, message):
    (found,) = told(folders, classes)
    assert found.startswith('error: ') and message in found


@pytest.mark.parametrize(
    'folders, classes',
    [
        (['cat', 'dog'], ['cat', 'dog']),
        (['cat', 'dog'], ['Cat', 'DOG']),
        (['n014', 'n015'], ['tench', 'shark']),
        (['big_cat', 'dog'], ['big cat', 'house dog']),
        (['n1', 'n2', 'n3'], ['crane', 'x', 'crane']),
        (['A', 'a'], ['A', 'a']),
        (['+', '-'], ['+', '-']),
    ],
)
def test_order__that_is_the_same(folders, classes):
    assert told(folders, classes) == []
