import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import PackMIMInputs
from beit_mm.registry import TRANSFORMS


def image(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def test_channels_come_first():
    img, token_img = image(6, 8, 3), image(3, 4, 3)
    packed = PackMIMInputs()(dict(img=img, token_img=token_img, mask=np.eye(3, 4) > 0, crop=None))
    assert set(packed) == {'inputs', 'token_inputs', 'mask'}
    for key, source in (('inputs', img), ('token_inputs', token_img)):
        assert packed[key].is_contiguous() and packed[key].dtype == torch.uint8
        for y, x, c in ((0, 0, 0), (2, 3, 1), (1, 2, 2)):
            assert packed[key][c, y, x] == source[y, x, c]
    assert packed['mask'].dtype == torch.bool and torch.equal(packed['mask'], torch.eye(3, 4) > 0)


@pytest.mark.parametrize('shape, expected', [((6, 8), (1, 6, 8)), ((6, 8, 1), (1, 6, 8))])
def test_gray(shape, expected):
    img = image(*shape)
    inputs = PackMIMInputs()(dict(img=img))['inputs']
    assert inputs.shape == expected and np.array_equal(inputs[0], img.reshape(6, 8))


@pytest.mark.parametrize('dtype', ['uint16', 'int16', 'float16', 'float32', 'float64', 'bool'])
def test_other_types_become_float32(dtype):
    img = image(6, 8, 3, dtype=dtype)
    inputs = PackMIMInputs()(dict(img=img))['inputs']
    assert inputs.dtype == torch.float32
    assert np.array_equal(inputs, img.transpose(2, 0, 1).astype(np.float32))


def test_uint16_keeps_large_values():
    img = np.full((2, 2), 60000, dtype=np.uint16)
    assert (PackMIMInputs()(dict(img=img))['inputs'] == 60000).all()


def test_tensors_own_their_memory():
    img, mask = image(6, 8), np.zeros((3, 4), bool)
    img.setflags(write=False)
    packed = PackMIMInputs()(dict(img=img, mask=mask))
    packed['inputs'] += 1
    packed['mask'][:] = True
    assert np.array_equal(packed['inputs'][0], img + 1) and not mask.any()


def test_optional_keys_and_collate():
    pack = TRANSFORMS.build(dict(type='PackMIMInputs'))
    batch = default_collate([pack(dict(img=image(6, 8, 3), token_img=None)) for _ in range(2)])
    assert set(batch) == {'inputs'} and batch['inputs'].shape == (2, 3, 6, 8)


def test_missing_image_is_named():
    with pytest.raises(UserError, match="no 'img'.*LoadImageFromFile"):
        PackMIMInputs()(dict(mask=np.zeros((3, 4), bool)))


@pytest.mark.parametrize('key', ['img', 'token_img'])
def test_wrong_shape_is_named(key):
    with pytest.raises(UserError, match=rf'{key} has shape \(2, 6, 8, 3\)'):
        PackMIMInputs()({'img': image(6, 8, 3), key: image(2, 6, 8, 3)})
