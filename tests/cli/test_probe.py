"""beit-mm probe: our encoders and those of other libraries in one table."""

import csv

import checkpoints_of_models as made
import cv2
import numpy as np
import pytest
import timm
import torch
import transformers

from beit_mm import load_model
from beit_mm.apis.other_encoder import load_other
from beit_mm.cli.probe import features_of, main
from beit_mm.contracts import UserError
from beit_mm.models.features import HFFeatures, TimmFeatures

pytestmark = pytest.mark.slow

VIT = dict(
    hidden_size=16,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=32,
    patch_size=8,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two classes of different brightness, ours and a Hugging Face model."""
    folder = tmp_path_factory.mktemp('probe')
    rng = np.random.default_rng(0)
    for number in range(16):
        path = folder / 'images' / ('dark' if number % 2 else 'light') / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
        cv2.imwrite(str(path), image if number % 2 else image + 190)
    made.saved(made.pretraining(), folder / 'ours.pth')
    torch.manual_seed(0)
    transformers.ViTModel(transformers.ViTConfig(**VIT)).save_pretrained(folder / 'vit')
    return folder


def test_probe__a_row_for_each_layer_and_pooling(folder, tmp_path, capsys):
    ours, vit, out = str(folder / 'ours.pth'), f'hf:{folder / "vit"}', tmp_path / 'probe.csv'
    options = ['--shots', '1', '3', '--splits', '3', '--out', str(out)]
    main([ours, vit, 'timm:test_vit', '--images', str(folder / 'images'), *options])
    rows = list(csv.DictReader(out.open()))
    places = [tuple(row.values())[:5] for row in rows]
    layers = {ours: 4, vit: 3, 'timm:test_vit': 6}
    assert places == [
        (model, str(layer), pool, name, str(split))
        for model, number in layers.items()
        for layer in range(number)
        for pool in ('mean', 'cls', 'all')
        for name in ('knn', 'linear', '1-shot', '3-shot')
        for split in range(3)
    ]
    assert all(0 <= float(row['accuracy']) <= 100 for row in rows)
    linear = [float(row['accuracy']) for row in rows if row['measure'] == 'linear']
    assert linear[:3] == [100] * 3  # brightness is easy to see
    text = capsys.readouterr().out
    assert f'| {ours} | 0 | mean | ' in text and '16 images of 2 classes' in text
    assert 'chance 50.0' in text


def test_features__are_those_of_embed(folder):
    model = load_model(folder / 'ours.pth')
    files = sorted(map(str, folder.glob('images/*/*.png')))[:3]
    found = features_of(model, files)
    for layer in range(4):
        for pool in ('mean', 'cls'):
            expected = model.embed(files, layer=layer, pool=pool, progress=False).features
            np.testing.assert_allclose(found[layer][pool].numpy(), expected, atol=1e-5)


def test_other_encoders__end_as_the_features_of_tokenizers_do(folder):
    images = torch.rand(2, 3, 32, 32)
    model = load_other(f'hf:{folder / "vit"}')
    theirs = HFFeatures(str(folder / 'vit'), mean=(0.0,) * 3, std=(1.0,) * 3)(images)
    (tokens,) = model.module(images)
    torch.testing.assert_close(tokens[:, 1:], theirs.flatten(1, 2))
    assert len([*model.module.layer_outputs(images)]) == 3 and model.size == (32, 32)

    network = timm.create_model('test_vit', num_classes=0)
    torch.save(network.state_dict(), folder / 'timm.pth')
    model = load_other(f'timm:test_vit={folder / "timm.pth"}')
    options = dict(num_classes=0, checkpoint_path=str(folder / 'timm.pth'))
    raw = dict(mean=(0.0,) * 3, std=(1.0,) * 3)
    theirs = TimmFeatures('test_vit', pretrained=False, model_kwargs=options, **raw)
    images = torch.rand(2, 3, *model.size)
    (tokens,) = model.module(images)
    torch.testing.assert_close(tokens[:, 1:], theirs(images).flatten(1, 2))
    torch.testing.assert_close(tokens[:, 0], network.eval().forward_features(images)[:, 0])


def test_other_encoders__of_convolutions_have_no_class_token():
    tokens = [*load_other('timm:test_resnet').module.layer_outputs(torch.rand(1, 3, 64, 64))]
    assert len(tokens) > 2
    torch.testing.assert_close(tokens[-1][:, 0], tokens[-1][:, 1:].mean(1))


def test_config__of_checkpoints_that_do_not_describe_themselves(folder, tmp_path, capsys):
    images = ['--images', str(folder / 'images'), '--splits', '1', '--shots']
    names, configs = [], []
    for layers in (1, 2):
        config = made.pretraining(backbone=dict(arch=dict(made.ARCH, num_layers=layers)))
        path = tmp_path / f'{layers}.pth'
        made.saved(config, path)
        torch.save(dict(state_dict=torch.load(path)['state_dict']), path)
        names.append(str(path))
        configs.append(str(path.with_suffix('.py')))
        config.dump(configs[-1])
    with pytest.raises(UserError, match='does not say how its model is built'):
        main([names[0], *images])
    both = [word for config in configs for word in ('--config', config)]
    main([*both, names[0], 'timm:test_vit', names[1], *images])
    out = capsys.readouterr().out
    assert f'| {names[0]} | 0 | mean |' in out and f'| {names[0]} | 1 |' not in out
    assert f'| {names[1]} | 1 | mean |' in out and '| timm:test_vit | 5 |' in out
    main(['--config', configs[1], names[1], names[1], *images])
    assert capsys.readouterr().out.count(f'| {names[1]} | 1 | mean |') == 2
    with pytest.raises(UserError, match='--config: 2 for 1 checkpoints; give one for all'):
        main([names[0], 'timm:test_vit', *images, *both])


def test_errors(folder, tmp_path):
    images = str(folder / 'images')
    with pytest.raises(UserError, match='timm:no_such_net cannot be built'):
        main(['timm:no_such_net', '--images', images])
    made.saved(made.tokenizer(), tmp_path / 'tokenizer.pth')
    with pytest.raises(UserError, match='is a tokenizer, which has no encoder'):
        main([str(tmp_path / 'tokenizer.pth'), '--images', images])
