import shutil
import unicodedata

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import LabelledImageFolder, SegmentationFolder

pytestmark = pytest.mark.slow


@pytest.fixture
def roots(tmp_path):
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    for number in range(10):
        for root, ending in ((images, '.jpg'), (masks, '_mask.png')):
            (root / 'a').mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / 'a' / f'{number}{ending}'), np.full((4, 4), number, np.uint8))
    return str(images), str(masks)


def pairs(dataset) -> dict[str, str]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    return {info['img_path']: info['seg_map_path'] for info in infos}


def test_pairs__by_the_path_below_the_roots(roots):
    images, masks = roots
    dataset = SegmentationFolder(images, masks, mask_suffix='_mask', classes=['x', 'y'])
    assert pairs(dataset) == {f'{images}/a/{n}.jpg': f'{masks}/a/{n}_mask.png' for n in range(10)}
    assert dataset.metainfo['classes'] == ['x', 'y']
    parts = [
        pairs(SegmentationFolder(images, masks, '_mask', part=part)) for part in ('train', 'val')
    ]
    assert [len(part) for part in parts] == [8, 2]
    assert parts[0] | parts[1] == pairs(dataset)


@pytest.mark.parametrize('form', ['NFC', 'NFD'])
def test_pairs__of_names_that_are_composed_otherwise(roots, form):
    images, masks = roots
    other = dict(NFC='NFD', NFD='NFC')[form]
    image = shutil.copy(f'{images}/a/1.jpg', f'{images}/{unicodedata.normalize(form, "Öl.jpg")}')
    name = unicodedata.normalize(other, 'Öl_mask.png')
    mask = shutil.copy(f'{masks}/a/1_mask.png', f'{masks}/{name}')
    found = pairs(SegmentationFolder(images, masks, '_mask', missing='skip'))
    assert found[image] == mask and len(found) == 11
    left = SegmentationFolder(
        images, masks, '_mask', exclude=[unicodedata.normalize(other, 'Öl.jpg')]
    )
    assert len(left) == 10


def test_missing_masks(roots):
    images, masks = roots
    with pytest.raises(MissingFileError, match=r'10 of 10 images .*expected a/0\.png'):
        SegmentationFolder(images, masks)
    (cv2.imwrite(f'{images}/b.png', np.zeros((4, 4), np.uint8)))
    with pytest.raises(MissingFileError, match=r'1 of 11 images have no mask .*b, for|b.png for'):
        SegmentationFolder(images, masks, '_mask')
    assert len(SegmentationFolder(images, masks, '_mask', missing='skip')) == 10
    with pytest.raises(MissingFileError, match='images have no mask'):
        SegmentationFolder(images, masks, missing='skip')  # none has one
    with pytest.raises(MissingFileError, match='is no folder'):
        SegmentationFolder(images, f'{masks}x')


def test_two_masks_of_an_image(roots):
    images, masks = roots
    cv2.imwrite(f'{masks}/a/3_mask.bmp', np.zeros((4, 4), np.uint8))
    with pytest.raises(UserError, match=r'a/3.jpg has two masks .*3_mask.bmp, a/3_mask.png'):
        SegmentationFolder(images, masks, '_mask')


def test_ids__are_checked_by_the_classes_of_the_data_set(roots):
    images, masks = roots
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadSegmentationMask'),
        dict(type='CheckSegmentation'),
    ]
    with DefaultScope.overwrite_default_scope('beit_mm'):
        dataset = SegmentationFolder(
            images, masks, '_mask', classes=['x', 'y', 'z'], pipeline=pipeline
        )
    assert [dataset[index]['gt_seg_map'].max() for index in range(3)] == [0, 1, 2]
    with pytest.raises(UserError, match='3_mask.png.* 3'):
        dataset[3]


def test_home__is_meant_by_a_tilde(roots, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    dataset = SegmentationFolder('~/images', '~/masks', '_mask')
    assert pairs(dataset) == pairs(SegmentationFolder(*roots, '_mask'))
    (tmp_path / 'labels.csv').write_text('a/0.jpg,x\na/1.jpg,y\n')
    labelled = LabelledImageFolder('~/images', labels='~/labels.csv')
    assert labelled.metainfo['classes'] == ('x', 'y') and len(labelled) == 2
