"""What load_model and the tools do with a backbone of embed_dims, patch_size and forward alone."""

import minimal_plugins  # noqa: F401  (registers them)
import numpy as np
import pytest
import torch
from checkpoints_of_models import pretraining, saved

from beit_mm.apis import load_model
from beit_mm.contracts import UserError

FORMS = ('patches', 'class', 'map')


def masked(form):
    """Return the config of a pre-training whose backbone and tokenizer are plugins."""
    config = pretraining(
        token=dict(type='BrightnessTokenizer', vocab_size=16, stride=8), neck=dict(type='BareNeck')
    )
    config.model.backbone = dict(type='BareBackbone', form=form)
    return config


@pytest.fixture(params=FORMS)
def model(request, tmp_path):
    config = masked(request.param)
    saved(config, tmp_path / 'a.pth')
    return load_model(tmp_path / 'a.pth', config)


def test_embed__all_patches_and_their_map(model, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    model.transforms = model.transforms[:1]  # without resizing
    inputs = torch.tensor(image[..., ::-1].copy()).permute(2, 0, 1)[None].float()
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (model.mean, model.std))
    backbone = model.module.backbone
    with torch.no_grad():
        expected = backbone.proj((inputs.flip(1) - mean) / std).permute(0, 2, 3, 1).numpy()
    found = model.embed(image, pool='patches').features
    assert found.shape == (1, 4, 6, 32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = model.embed(image).features
    np.testing.assert_allclose(found, expected.mean((1, 2)), atol=1e-5)
    if backbone.form == 'class':
        found = model.embed(image, pool='cls').features
        np.testing.assert_allclose(found, expected.mean((1, 2)) - 5, atol=1e-5)
    else:
        with pytest.raises(UserError, match='BareBackbone has no class token'):
            model.embed(image, pool='cls')
