"""What load_model and the tools do with a backbone of embed_dims, patch_size and forward alone."""

import sys

import checkpoints_of_models as made
import minimal_plugins  # noqa: F401  (registers them)
import numpy as np
import onnxruntime
import pytest
import torch

from beit_mm.apis import export, load_model
from beit_mm.cli import probe
from beit_mm.contracts import UserError

FORMS = ('patches', 'class', 'map')


def masked(form):
    """Return the config of a pre-training whose backbone and tokenizer are plugins."""
    tokenizer = dict(type='BrightnessTokenizer', vocab_size=16, stride=8)
    neck = dict(type='MaskedPatchNeck' if form == 'class' else 'BareNeck')
    config = made.pretraining(tokenizer, neck=neck)
    config.model.backbone = dict(type='BareBackbone', form=form)
    return config


@pytest.fixture(params=FORMS)
def model(request, tmp_path):
    config = masked(request.param)
    made.saved(config, tmp_path / 'a.pth')
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


@pytest.mark.parametrize('has', ['has_layers', 'has_attention'])
def test_layers__that_are_not_counted_are_told(model, monkeypatch, has):
    monkeypatch.setattr(model.module.backbone, has, True)
    image = np.zeros((32, 32, 3), np.uint8)
    with pytest.raises(UserError, match='BareBackbone has layers, but no num_layers; set it'):
        model.embed(image) if has == 'has_layers' else model.attention(image)
    with pytest.raises(UserError, match='BareBackbone has layers, but no num_layers; set it'):
        [*model.module.backbone.layer_outputs(torch.zeros(1, 3, 32, 32))]


@pytest.mark.parametrize('backbone', [False, True])
def test_export__folder_of_ours_has_the_same_features(model, tmp_path, backbone):
    allow = ['BareBackbone', 'BareNeck', 'BrightnessTokenizer']
    found = export(model, tmp_path / 'out', to='beit_mm', backbone=backbone)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    again = load_model(tmp_path / 'out', allow=allow)
    assert found.task == again.task == ('backbone' if backbone else 'pretraining')
    for part in (model, again):
        part.transforms = part.transforms[:1]
    np.testing.assert_array_equal(again.embed(image).features, model.embed(image).features)


@pytest.mark.slow
def test_export__onnx_gives_all_tokens_and_the_mean_of_the_patches(model, tmp_path):
    export(model, tmp_path / 'out', to='onnx')
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / 'out' / 'model.onnx')
    pixels = images.transpose(0, 3, 1, 2).astype(np.float32)
    tokens, embedding = session.run(None, dict(images=pixels))
    model.transforms = model.transforms[:1]  # without resizing
    patches = model.embed(images, pool='patches').features.reshape(3, 16, 32)
    np.testing.assert_allclose(tokens[:, -16:], patches, atol=1e-4)
    np.testing.assert_allclose(embedding, patches.mean(1), atol=1e-4)
    assert tokens.shape[1] == 16 + (model.module.backbone.form == 'class')


@pytest.mark.parametrize('to', ['huggingface', 'timm'])
def test_export__libraries_without_a_place_for_it_are_told(model, tmp_path, to):
    with pytest.raises(UserError, match='BareBackbone, but .* has a BEiT alone; .* --to onnx'):
        export(model, tmp_path / 'out', to=to)


@pytest.mark.parametrize('kind', ['classifier', 'segmentor'])
def test_export__tasks_with_a_bare_backbone(tmp_path, kind):
    """The segmentor says nothing of the size of its images."""
    config = dict(classifier=made.classifier('gap'), segmentor=made.segmentor())[kind]
    config.model.backbone = dict(type='beit_mm.BareBackbone', form='map')
    made.saved(config, tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth', config)
    for number, backbone in enumerate((False, True)):
        found = export(model, tmp_path / str(number), to='beit_mm', backbone=backbone)
        assert found.largest < 1e-4


def test_probe__takes_the_config_that_imports_the_plugin(tmp_path, monkeypatch, capsys):
    """One layer, with the mean of all patches alone."""
    config = masked('patches')
    made.saved(config, tmp_path / 'a.pth')
    monkeypatch.syspath_prepend(tmp_path)
    config.custom_imports = dict(imports=['imported_by_config'])
    (tmp_path / 'imported_by_config.py').write_text('import minimal_plugins')
    config.dump(tmp_path / 'config.py')
    for name in ('dark', 'light'):
        made.write_images(tmp_path / 'images' / name, sizes=((32, 32),) * 4)
    arguments = [str(tmp_path / 'a.pth'), '--images', str(tmp_path / 'images'), '--splits', '1']
    with pytest.raises(UserError, match='Brightness.* is no class that a file may name.*config'):
        probe.main(arguments)
    assert 'imported_by_config' not in sys.modules
    probe.main([*arguments, '--config', str(tmp_path / 'config.py')])
    assert 'imported_by_config' in sys.modules
    rows = [line for line in capsys.readouterr().out.splitlines() if str(tmp_path) in line]
    assert len(rows) == 1 and '| 0 | mean |' in rows[0]
