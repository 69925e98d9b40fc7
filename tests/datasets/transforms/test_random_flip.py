import numpy as np
import pytest
from mmcv import transforms
from mmcv.transforms import TransformBroadcaster
from mmengine.registry import DefaultScope

from beit_mm.datasets.transforms import RandomFlip
from beit_mm.registry import TRANSFORMS


@pytest.mark.parametrize(
    ('prob', 'direction'),
    [
        (0.5, 'horizontal'),
        (0.0, 'vertical'),
        (1.0, 'diagonal'),
        (0.7, ['horizontal', 'vertical', 'diagonal']),
        ([0.1, 0.6], ['vertical', 'horizontal']),
        ([0.3, 0.7], ['vertical', 'diagonal']),
    ],
)
@pytest.mark.parametrize('shape', [(5, 7, 3), (6, 4), (3, 5, 8)])
def test_results_and_draws__are_mmcvs(prob, direction, shape):
    img = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    made = []
    for kind in (transforms.RandomFlip, RandomFlip):
        np.random.seed(0)
        flip, results = kind(prob, direction), []
        for _ in range(60):
            boxes = np.array([[0.0, 1.0, 2.0, 3.0]])
            results.append(flip(dict(img=img, gt_seg_map=img, gt_bboxes=boxes)))
        made.append((results, np.random.random()))
    (theirs, their_next), (ours, our_next) = made
    assert our_next == their_next
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.keys() == other.keys()
        assert all(np.array_equal(mine[key], other[key]) for key in mine)


def test_config__builds_ours_and_shares_draws():
    with DefaultScope.overwrite_default_scope('beit_mm'):
        flip = TRANSFORMS.build(dict(type='RandomFlip', prob=0.5))
    assert type(flip) is RandomFlip
    mapping, img = dict(img=['a', 'b']), np.arange(6).reshape(1, 6)
    both = TransformBroadcaster([flip], mapping, auto_remap=True, share_random_params=True)
    for _ in range(20):
        results = both(dict(a=img, b=img))
        assert np.array_equal(results['a'], results['b'])
