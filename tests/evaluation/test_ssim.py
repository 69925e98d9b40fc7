import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from beit_mm.evaluation.ssim import ssim


@pytest.mark.parametrize('shape', [(3, 24, 32), (1, 11, 40)])
def test_against_scikit_image(shape):
    rng = np.random.default_rng(0)
    image = rng.random(shape)
    other = np.clip(0.7 * image + 0.3 * rng.random(shape), 0, 1)
    _, full = structural_similarity(
        image,
        other,
        channel_axis=0,
        gaussian_weights=True,
        use_sample_covariance=False,
        data_range=1,
        full=True,
    )
    inside = full[:, 5 : shape[1] - 5, 5 : shape[2] - 5]  # its windows reach beyond the image
    assert ssim(torch.from_numpy(image), torch.from_numpy(other)) == pytest.approx(inside.mean())


def test_the_same_image_is_one_and_the_order_does_not_matter():
    image, other = torch.rand(2, 3, 16, 16)
    assert ssim(image, image) == pytest.approx(1)
    assert ssim(image, other) == pytest.approx(ssim(other, image))


def test_an_image_smaller_than_the_window():
    assert 0 < ssim(torch.rand(3, 4, 6), torch.rand(3, 4, 6)) < 1
