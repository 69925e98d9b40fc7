"""A file that no loader can read is named, in the data sets of other packages too."""

import pickle
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch.nn as nn
from mmcv.transforms import Compose as mmcv_compose
from mmengine.dataset import Compose
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from beit_mm.contracts import FileReader, UserError
from beit_mm.datasets.named_errors import BadImageError, NamedErrors
from beit_mm.datasets.transforms import LoadSegmentationMask
from beit_mm.engine import DatasetCheckHook

pytestmark = pytest.mark.slow

LOAD = dict(type='LoadImageFromFile')
MASK = dict(type='mmseg.LoadAnnotations')
BROKEN = dict(empty=b'', page=b'<html>404</html>', cut=None)


@pytest.fixture
def root(tmp_path):
    """Two images and masks; ``break_it`` writes something else in the place of one."""
    for kind, channels in (('img', 3), ('mask', 1)):
        (tmp_path / kind / 'a').mkdir(parents=True)
        for name in '01':
            cv2.imwrite(str(tmp_path / kind / f'a/{name}.png'), np.ones((9, 9, channels), np.uint8))
    return tmp_path


def checked(config):
    """As in the training: after the hook has seen it."""
    data = DATASETS.build(config)
    runner = SimpleNamespace(model=nn.Module(), logger=None)
    DatasetCheckHook()._check(runner, data, 'val_dataloader')
    return data


def data_of(kind, root):
    if kind == 'seg':
        return checked(
            dict(
                type='mmseg.BaseSegDataset',
                data_root=str(root),
                data_prefix=dict(img_path='img/a', seg_map_path='mask/a'),
                img_suffix='.png',
                metainfo=dict(classes=('x', 'y')),
                pipeline=[LOAD, MASK],
                test_mode=True,
            )
        )
    return checked(
        dict(type=f'mmpretrain.{kind}', data_root=str(root / 'img'), pipeline=[LOAD])
        | (dict(split='', classes=['a']) if kind == 'ImageNet' else {})
    )


@pytest.mark.parametrize('content', BROKEN)
@pytest.mark.parametrize('kind', ['CustomDataset', 'ImageNet', 'seg'])
def test_images(kind, content, root):
    path = root / 'img/a/1.png'
    path.write_bytes(path.read_bytes()[:40] if BROKEN[content] is None else BROKEN[content])
    data = data_of(kind, root)
    assert data[0]['img'].shape == (9, 9, 3)
    with pytest.raises(BadImageError, match=r'img/a/1\.png.*\(sample 1\).*check_dataset\.py'):
        data[1]


def test_masks(root):
    (root / 'mask/a/1.png').write_bytes(b'')
    with pytest.raises(BadImageError, match=r"mask '.*mask/a/1\.png' of image '.*img/a/1\.png'"):
        data_of('seg', root)[1]


def test_folder__names_its_errors_itself(root):
    (root / 'img/a/1.png').write_bytes(b'')
    with pytest.raises(BadImageError) as error:
        checked(dict(type='beit_mm.UnlabelledImageFolder', data_root=str(root), pipeline=[LOAD]))[1]
    assert str(error.value).count('(sample 1)') == 1  # and not once more


def test_workers(root):
    (root / 'img/a/1.png').unlink()
    data = data_of('CustomDataset', root)
    data.data_list, data.serialize_data = [dict(img_path=str(root / 'img/a/1.png'))], False
    with pytest.raises(BadImageError, match=r'a/1\.png.*repair or remove'):
        list(DataLoader(data, num_workers=1, collate_fn=list))


def fails(info):
    raise info['error']


def test_other_errors(root):
    """Those of a machine without memory pass as they are, and those of data that are no files."""
    named = pickle.loads(pickle.dumps(NamedErrors(fails)))
    for info in (dict(img_path='x.png', error=MemoryError()), dict(error=KeyError('y'))):
        with pytest.raises(type(info['error'])):
            named(info)
    with pytest.raises(RuntimeError, match=r"image 'x\.png' \(sample 3\): KeyError: 'y'") as error:
        named(dict(img_path='x.png', sample_idx=3, error=KeyError('y')))
    assert not isinstance(error.value, BadImageError)


class Reads(FileReader):
    def __call__(self, info):
        raise info['error']


def test_who_failed_decides__and_not_what_it_called():
    """A reader is to blame for any error, another transform for all but a UserError."""

    def result_of(transform, error, **info):
        with pytest.raises(RuntimeError) as raised:
            NamedErrors(transform)(dict(img_path='x.png', sample_idx=3, error=error, **info))
        assert raised.value.__cause__ is error
        return type(raised.value), str(raised.value)

    advice = '; repair or remove the file, tools/check_dataset.py finds all such'
    image = "image 'x.png' (sample 3): "
    for pipeline in (Reads(), Compose([dict, Reads()]), mmcv_compose([Compose([Reads()])])):
        expected = BadImageError, f'{image}ValueError: broken{advice}'
        assert result_of(pipeline, ValueError('broken')) == expected
    assert result_of(Reads(), UserError('x.png is cut')) == (
        BadImageError,
        f'{image}x.png is cut{advice}',
    )
    for pipeline in (fails, Compose([fails]), Compose([Compose([dict, fails]), Reads()])):
        assert result_of(pipeline, UserError('too small')) == (BadImageError, f'{image}too small')
        expected = RuntimeError, f'{image}ValueError: a defect'
        assert result_of(pipeline, ValueError('a defect')) == expected


def test_result__is_that_of_the_pipeline_and_none_ends_it():
    seen = []

    def add(info):
        seen.append(info['img_path'])
        return dict(info, img_path=info['img_path'] + '+')

    steps = [add, Compose([add, add])]
    assert NamedErrors(Compose(steps))(dict(img_path='x')) == dict(img_path='x+++')
    assert seen == ['x', 'x+', 'x++']
    seen.clear()
    assert (
        NamedErrors(Compose([add, Compose([lambda info: None]), add]))(dict(img_path='x')) is None
    )
    assert seen == ['x']


def test_mask_of_ours__is_a_file_that_was_read(root):
    load = LoadSegmentationMask(num_classes=2)
    info = dict(img_path='x.png', seg_map_path=str(root / 'gone.png'), sample_idx=3)
    with pytest.raises(BadImageError, match=r"'x\.png' \(sample 3\).*gone\.png.*repair or remove"):
        NamedErrors(load)(info)


def test_failure_that_does_not_come_again__blames_no_file():
    class FailsOnce(FileReader):
        calls = 0

        def __call__(self, info):
            self.calls += 1
            if self.calls == 1:
                raise ValueError('the disk was away')
            return info

    with pytest.raises(RuntimeError, match='the disk was away$') as error:
        NamedErrors(FailsOnce())(dict(img_path='x.png', sample_idx=3))
    assert not isinstance(error.value, BadImageError)
