"""Fine-tuning takes its data set from mmpretrain and its crop from here."""

import cv2
import numpy as np
import pytest
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

import beit_mm  # noqa: F401  (makes torchvision importable for mmpretrain)


@pytest.fixture
def data_root(tmp_path):
    """train/{cat,dog}/{0,1,2}.png and a list of two labelled images."""
    rng = np.random.default_rng(0)
    for name in ('cat/0', 'cat/1', 'cat/2', 'dog/0', 'dog/1', 'dog/2'):
        path = tmp_path / f'train/{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    (tmp_path / 'few.txt').write_text('dog/2.png 1\ncat/0.png 0\n')
    return tmp_path


def load(data_root, pipeline, **dataset):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(
            dict(
                batch_size=2,
                num_workers=0,
                dataset=dict(
                    type='CustomDataset',
                    data_root=str(data_root),
                    data_prefix='train',
                    pipeline=[dict(type='LoadImageFromFile'), *pipeline, dict(type='PackInputs')],
                    **dataset,
                ),
                sampler=dict(type='DefaultSampler', shuffle=False),
                collate_fn=dict(type='default_collate'),
            )
        )
        return loader.dataset, next(iter(loader))


def test_few_label_list(data_root):
    crop = dict(type='beit_mm.TwoViewResizedCrop', size=32)
    classes = ('cat', 'dog')
    dataset, batch = load(data_root, [crop], ann_file='few.txt', metainfo=dict(classes=classes))
    assert len(dataset) == 2 and dataset.CLASSES == classes
    assert batch['inputs'].shape == (2, 3, 32, 32)
    assert [sample.gt_label.item() for sample in batch['data_samples']] == [1, 0]
    assert all(sample.img_shape == (32, 32) for sample in batch['data_samples'])


def test_resize_of_validation_equals_pillow(data_root):
    resize = dict(type='ResizeEdge', scale=20, backend='pillow', interpolation='bicubic')
    _, batch = load(data_root, [resize])
    img = Image.fromarray(cv2.imread(str(data_root / 'train/cat/0.png')))
    expected = np.asarray(img.resize((25, 20), Image.BICUBIC))
    assert np.array_equal(batch['inputs'][0].permute(1, 2, 0), expected)
