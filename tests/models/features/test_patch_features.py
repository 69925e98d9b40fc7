import numpy as np
import pytest
import torch
from skimage.feature import hog

from beit_mm.models.features import PatchHOG, PatchPixels


def test_pixels__of_each_patch_row_by_row_and_back():
    images = torch.rand(2, 3, 8, 12)
    features = PatchPixels(patch_size=4)
    patches = features(images, (2, 3))
    assert patches.shape == (2, 2, 3, features.dims) and features.can_draw
    for n in range(6):
        y, x = divmod(n, 3)
        patch = images[:, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4]
        assert torch.equal(patches[:, y, x], patch.flatten(1))
    assert torch.equal(features.image(patches), images)


def test_pixels__normalized_patches_know_neither_brightness_nor_contrast():
    images = torch.rand(2, 3, 8, 8)
    features = PatchPixels(patch_size=4, normalize=True)
    patches = features(images)
    torch.testing.assert_close(patches.mean(-1), torch.zeros(2, 2, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(-1), torch.ones(2, 2, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(features(0.5 * images + 0.2), patches, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('cells, bins', [(1, 9), (2, 9), (2, 8), (4, 6)])
def test_hog__against_scikit_image(cells, bins):
    images = torch.rand(2, 3, 16, 24, dtype=torch.float64)
    features = PatchHOG(patch_size=8, cells=cells, bins=bins)
    got = features(images, (2, 3))
    for image, own in zip(images, got, strict=True):
        blocks = hog(
            image.permute(1, 2, 0).numpy(),
            orientations=bins,
            pixels_per_cell=(8 // cells, 8 // cells),
            cells_per_block=(cells, cells),
            block_norm='L2',
            channel_axis=-1,
            feature_vector=False,
        )
        patches = blocks[::cells, ::cells].reshape(6, -1)  # its blocks overlap
        np.testing.assert_allclose(own.flatten(0, 1).numpy(), patches, atol=1e-6)


def test_hog__a_flat_patch_is_zero_and_finite():
    assert not PatchHOG(patch_size=4)(torch.full((1, 3, 8, 8), 0.3)).any()


@pytest.mark.parametrize('features', [PatchPixels(patch_size=4), PatchHOG(patch_size=4)])
def test_wrong_images__named_in_errors(features):
    with pytest.raises(ValueError, match='in_channels=3.*4 channels'):
        features(torch.rand(1, 4, 8, 8))
    with pytest.raises(ValueError, match='patch_size=4.*2 x 2 patches.*expected 1 x 1'):
        features(torch.rand(1, 3, 8, 8), (1, 1))
    with pytest.raises(ValueError, match='expected a whole number'):
        features(torch.rand(1, 3, 10, 8))
