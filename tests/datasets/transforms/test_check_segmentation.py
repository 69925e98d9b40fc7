import numpy as np
import pytest
from mmengine.registry import TRANSFORMS

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import CheckSegmentation


def sample(mask, image=(6, 4)):
    return dict(
        gt_seg_map=np.asarray(mask), ori_shape=image, seg_map_path='m.png', img_path='i.jpg'
    )


def test_good_mask__passes_unchanged():
    check = TRANSFORMS.build(dict(type='beit_mm.CheckSegmentation', num_classes=3))
    given = sample(np.tile(np.array([0, 1, 2, 255], np.uint8), (6, 1)))
    before = given['gt_seg_map'].copy()
    assert check(given) is given and np.array_equal(given['gt_seg_map'], before)


def test_image_resized_before_the_mask_is_loaded__counts_with_its_own_size():
    given = dict(sample(np.zeros((6, 4), np.uint8)), img=np.zeros((12, 8, 3)), img_shape=(12, 8))
    CheckSegmentation().transform(given)


def test_mask_of_other_size():
    with pytest.raises(UserError, match=r'm.png: the mask is 4 x 5 .* image 4 x 6.*\(i.jpg\)'):
        CheckSegmentation().transform(sample(np.zeros((5, 4), np.uint8)))


def test_mask_transposed():
    with pytest.raises(UserError, match='transposed, or the image is turned by its EXIF'):
        CheckSegmentation().transform(sample(np.zeros((4, 6), np.uint8)))


def test_mask_in_colors():
    with pytest.raises(UserError, match=r'm.png has shape \(6, 4, 3\)'):
        CheckSegmentation().transform(sample(np.zeros((6, 4, 3), np.uint8)))


@pytest.mark.parametrize('dtype, wrong', [(np.uint8, 3), (np.int64, -1), (np.uint16, 300)])
def test_ids_out_of_range(dtype, wrong):
    mask = np.zeros((6, 4), dtype)
    CheckSegmentation(num_classes=3).transform(sample(mask))
    mask[5, 3] = wrong
    with pytest.raises(UserError, match=rf'm.png: class ids {wrong} \(1 pixels\); with num_cl'):
        CheckSegmentation(num_classes=3).transform(sample(mask))
    mask[5, 3] = 7
    CheckSegmentation(num_classes=3, ignore_index=7).transform(sample(mask))


def test_without_a_mask__says_where_it_belongs():
    with pytest.raises(UserError, match='directly after mmseg.LoadAnnotations'):
        CheckSegmentation().transform(dict(ori_shape=(2, 2)))
