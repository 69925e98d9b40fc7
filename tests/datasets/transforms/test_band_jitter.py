import numpy as np
import pytest

from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import BandJitter


def jitter(img, **options) -> np.ndarray:
    return BandJitter(**options).transform(dict(img=img.copy()))['img']


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_nothing_to_change__is_the_identity(dtype):
    img = (np.random.default_rng(0).random((5, 6, 7)) * 200).astype(dtype)
    same = jitter(img, brightness=0, contrast=0)
    assert same.dtype == dtype
    np.testing.assert_allclose(same, img, rtol=1e-6)


def test_brightness__scales_all_bands_alike_or_each_by_itself():
    img = np.random.default_rng(0).random((5, 6, 7)) + 1
    ratio = jitter(img, brightness=0.5, contrast=0) / img
    np.testing.assert_allclose(ratio, ratio[0, 0, 0])
    ratio = jitter(img, brightness=0.5, contrast=0, per_band=True) / img
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[0, 0], img.shape))
    assert len(np.unique(ratio[0, 0].round(6))) == 7
    assert ratio.min() >= 0.5 and ratio.max() <= 1.5


def test_contrast__keeps_the_mean_of_each_band():
    img = np.random.default_rng(0).random((5, 6, 7)) + np.arange(7)
    changed = jitter(img, brightness=0, contrast=0.9)
    np.testing.assert_allclose(changed.mean((0, 1)), img.mean((0, 1)))
    spread = changed.std((0, 1)) / img.std((0, 1))
    np.testing.assert_allclose(spread, spread[0])
    assert abs(spread[0] - 1) > 0.01


def test_integers__are_clipped_and_not_wrapped():
    img = np.full((4, 4), 65000, np.uint16)
    values = [jitter(img, brightness=1.0, contrast=0).max() for _ in range(20)]
    assert max(values) == 65535
    assert jitter(img, contrast=0.5).shape == (4, 4)


@pytest.mark.parametrize('wrong', [dict(brightness=-0.1), dict(contrast=1.5)])
def test_mistakes__named(wrong):
    with pytest.raises(UserError, match=f'BandJitter.{next(iter(wrong))}'):
        BandJitter(**wrong)
