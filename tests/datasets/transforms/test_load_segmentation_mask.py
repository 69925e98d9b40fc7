import warnings

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import LoadSegmentationMask

IDS = np.array([[0, 1, 2], [254, 255, 3]], np.uint8)


def results(path, **changes):
    given = dict(reduce_zero_label=False, label_map=None, seg_fields=[])
    return dict(seg_map_path=str(path), **{**given, **changes})


def load(path, loader=None, **changes):
    return (loader or LoadSegmentationMask()).transform(results(path, **changes))['gt_seg_map']


def save(path, ids=IDS, mode=None):
    image = Image.fromarray(ids)
    if mode == 'P':
        image = image.convert('L')
        palette = Image.new('P', image.size)
        palette.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
        palette.frombytes(image.tobytes())
        image = palette
    image.save(path)
    return path


@pytest.mark.parametrize('name, mode', [('a.png', None), ('a.png', 'P'), ('a.tif', None)])
@pytest.mark.parametrize('reduce', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 1, 1: 0, 2: 255}])
def test_good_masks__equal_mmseg(tmp_path, name, mode, reduce, label_map):
    path = save(tmp_path / name, mode=mode)
    changes = dict(reduce_zero_label=reduce, label_map=label_map)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        reference = TRANSFORMS.build(dict(type='mmseg.LoadAnnotations', reduce_zero_label=reduce))
    given, expected = results(path, **changes), results(path, **changes)
    LoadSegmentationMask().transform(given)
    reference(expected)
    assert given['gt_seg_map'].dtype == expected['gt_seg_map'].dtype == np.uint8
    assert np.array_equal(given.pop('gt_seg_map'), expected.pop('gt_seg_map'))
    assert given == expected  # seg_fields too


@pytest.mark.parametrize('name', ['a.png', 'a.tif', 'a.npy'])
def test_ids_above_255__do_not_wrap(tmp_path, name):
    ids = np.array([[0, 256, 300], [1000, 65535, 2]], np.uint16)
    path = tmp_path / name
    np.save(path, ids) if name.endswith('npy') else Image.fromarray(ids).save(path)
    assert np.array_equal(load(path), ids)
    reduced = load(path, LoadSegmentationMask(ignore_index=65535), reduce_zero_label=True)
    assert reduced.tolist() == [[65535, 255, 299], [999, 65535, 1]]
    with pytest.raises(UserError, match='reduce_zero_label makes id 256 one less'):
        load(path, reduce_zero_label=True)  # class 255 would not count


def test_sixteen_bit_file_of_small_ids__is_what_eight_bits_hold(tmp_path):
    path = save(tmp_path / 'a.png', IDS.astype(np.uint16))
    assert load(path).dtype == np.uint8 and np.array_equal(load(path), IDS)


@pytest.mark.parametrize('shape', [(1, 5), (5, 1), (1, 1)])
def test_one_row_or_column__keeps_both_axes(tmp_path, shape):
    assert load(save(tmp_path / 'a.png', np.ones(shape, np.uint8))).shape == shape


def test_one_bit__is_zero_and_one(tmp_path):
    Image.fromarray(np.array([[True, False]])).save(tmp_path / 'a.png')
    assert load(tmp_path / 'a.png').tolist() == [[1, 0]]


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'LA', 'CMYK', 'F'])
def test_pictures__are_no_masks(tmp_path, mode):
    path = tmp_path / ('a.tif' if mode in ('CMYK', 'F') else 'a.png')
    Image.new(mode, (4, 3)).save(path)
    with pytest.raises(UserError, match=f'a.* is a picture of mode {mode}; a mask has one chan'):
        load(path)


@pytest.mark.parametrize(
    'array', [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.float32), np.zeros(4, np.uint8)]
)
def test_arrays__that_are_no_masks(tmp_path, array):
    np.save(tmp_path / 'a.npy', array)
    with pytest.raises(UserError, match='a.npy has shape .* a mask is an array'):
        load(tmp_path / 'a.npy')


def test_negative_ids(tmp_path):
    np.save(tmp_path / 'a.npy', np.array([[-1, 2]]))
    with pytest.raises(UserError, match='a.npy has ids from -1 to 2'):
        load(tmp_path / 'a.npy')


def test_frames(tmp_path):
    frame = Image.fromarray(IDS)
    frame.save(tmp_path / 'a.tif', save_all=True, append_images=[frame])
    with pytest.raises(UserError, match='a.tif has 2 frames'):
        load(tmp_path / 'a.tif')


@pytest.mark.parametrize('content', [b'', b'<html>', b'\x89PNG\r\n\x1a\n'])
def test_undecodable__is_named(tmp_path, content):
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(UserError, match=r'a.png \(\d+ bytes\) is not a mask'):
        load(tmp_path / 'a.png')
    (tmp_path / 'a.npy').write_bytes(content)
    with pytest.raises(UserError, match='a.npy is not a readable .npy'):
        load(tmp_path / 'a.npy')


def test_ids__out_of_range(tmp_path):
    path = save(tmp_path / 'a.png')
    with pytest.raises(UserError, match=r'a.png: class ids 3 \(1 pixels\), 254 \(1 pixels\); wi'):
        load(path, LoadSegmentationMask(num_classes=3))
    assert load(path, LoadSegmentationMask(num_classes=255)) is not None
    with pytest.raises(UserError, match='class ids 253'):  # 0 is ignored, 3 is 2
        load(path, LoadSegmentationMask(num_classes=3), reduce_zero_label=True)


def test_settings__that_disagree(tmp_path):
    path = save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='LoadSegmentationMask.reduce_zero_label=True, but'):
        load(path, LoadSegmentationMask(reduce_zero_label=True))
    with pytest.raises(UserError, match='ignore_index=255 is one of these classes'):
        LoadSegmentationMask(num_classes=256)
