"""Folders that transformers and timm wrote: what load_model makes of them is what those compute."""

import json

import checkpoints_of_models as made
import numpy as np
import pytest
import timm
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf

from beit_mm.apis import export, load_model
from beit_mm.contracts import UserError

pytestmark = pytest.mark.slow
SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=80)
IMAGES = dict(image_size=32, patch_size=8)
TIMM = dict(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2)
NAMES = dict(id2label={0: 'ant', 1: 'bee', 2: 'cow'}, label2id=dict(ant=0, bee=1, cow=2))
RESIZES = dict(
    whole=dict(size=dict(height=32, width=32), do_center_crop=False),
    cropped=dict(
        size=dict(height=40, width=44), do_center_crop=True, crop_size=dict(height=32, width=32)
    ),
    linear=dict(
        size=dict(height=32, width=32),
        do_center_crop=False,
        resample=2,
        image_mean=[0.1, 0.5, 0.7],
        image_std=[0.2, 0.3, 0.4],
    ),
    not_rescaled=dict(
        size=dict(height=32, width=32),
        do_center_crop=False,
        do_rescale=False,
        image_mean=[100.0, 120.0, 140.0],
        image_std=[50.0, 60.0, 70.0],
    ),
    rounded=dict(
        size=dict(height=32, width=32), do_center_crop=False, rescale_factor=0.003921568859368563
    ),
    not_normalized=dict(size=dict(height=32, width=32), do_center_crop=False, do_normalize=False),
)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8))
        for h, w in ((32, 32), (70, 45), (33, 90))
    ]


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """Draw every tensor, so that none of them could be left out without a difference."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def of_transformers(folder, name, resize='whole', **changes):
    config = transformers.BeitConfig(**(SIZES | IMAGES | changes))
    model = drawn(getattr(transformers, name)(config))
    model.save_pretrained(folder)
    images = transformers.BeitImageProcessorPil(**RESIZES[resize])
    images.save_pretrained(folder)
    return model, lambda pictures: images(pictures, return_tensors='pt')


POSITIONS = dict(
    tables=dict(use_relative_position_bias=True),
    shared=dict(use_shared_relative_position_bias=True, layer_scale_init_value=0.0),
    absolute=dict(use_absolute_position_embeddings=True, layer_norm_eps=1e-3),
    none={},
)


@pytest.mark.parametrize('positions', POSITIONS.values(), ids=POSITIONS)
@pytest.mark.parametrize('resize', RESIZES)
def test_classifier_of_transformers__same_probabilities(tmp_path, pictures, positions, resize):
    model, prepare = of_transformers(
        tmp_path, 'BeitForImageClassification', resize, **NAMES, **positions
    )
    with torch.no_grad():
        expected = model(**prepare(pictures)).logits.softmax(1).numpy()
    ours = load_model(tmp_path)
    assert ours.task == 'classification' and ours.classes == ['ant', 'bee', 'cow']
    np.testing.assert_allclose(ours.classify(pictures).pred_scores, expected, atol=1e-5)


def test_resizing_that_is_not_said__is_that_of_transformers(tmp_path, pictures):
    model, prepare = of_transformers(tmp_path, 'BeitForImageClassification', 'whole', **NAMES)
    (tmp_path / 'preprocessor_config.json').write_text('{"image_processor_type": "x"}')
    prepare = transformers.BeitImageProcessorPil()
    with torch.no_grad():
        expected = model(**prepare(pictures, return_tensors='pt'), interpolate_pos_encoding=True)
    found = load_model(tmp_path).classify(pictures).pred_scores
    np.testing.assert_allclose(found, expected.logits.softmax(1).numpy(), atol=1e-5)


ENCODERS = ('BeitModel', 'BeitForMaskedImageModeling', 'BeitForSemanticSegmentation')


@pytest.mark.parametrize('name', ENCODERS)
def test_encoder_of_transformers__same_features(tmp_path, pictures, name):
    changes = dict(use_mask_token=True) if 'Masked' in name else {}
    if 'Semantic' in name:
        changes = dict(out_indices=[1, 2, 3, 4], num_hidden_layers=4, use_auxiliary_head=False)
    model, prepare = of_transformers(tmp_path, name, use_relative_position_bias=True, **changes)
    with torch.no_grad():
        network = model if name == 'BeitModel' else model.beit
        found = network(**prepare(pictures), output_hidden_states=True)
    states = found.last_hidden_state if name == 'BeitModel' else found.hidden_states[-1]
    if 'Masked' in name:
        states = network.layernorm(states)
    ours = load_model(tmp_path)
    assert ours.task == 'backbone'
    expected = states[:, 1:].mean(1).numpy()
    np.testing.assert_allclose(ours.embed(pictures).features, expected, atol=1e-5)


CROPS = dict(
    default={},
    share=dict(crop_pct=0.8),
    no_share=dict(crop_pct=None),
    whole=dict(crop_mode='squash', crop_pct=1),
    squash=dict(crop_mode='squash', crop_pct=0.87),
)


@pytest.mark.parametrize('crop', CROPS.values(), ids=CROPS)
@pytest.mark.parametrize('classes', [0, 3])
def test_folder_of_timm__same_outputs(tmp_path, pictures, crop, classes):
    model = drawn(timm.create_model('beit_base_patch16_224', **TIMM, num_classes=classes))
    model.pretrained_cfg.update(input_size=(3, 32, 32), **crop)
    save_for_hf(model, tmp_path, model_args=TIMM, safe_serialization=True)
    prepare = create_transform(**resolve_data_config(model=model))
    x = torch.stack([prepare(picture) for picture in pictures])
    ours = load_model(tmp_path)
    with torch.no_grad():
        if classes:
            found = ours.classify(pictures).pred_scores
            expected = model(x).softmax(1)
        else:
            found = ours.embed(pictures).features
            expected = model.forward_intermediates(x, intermediates_only=True)[-1].mean((2, 3))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def upernet():
    config = made.segmentor(head='UPerHead', resize=False)
    config.model.decode_head.channels = 32  # as the encoder, which transformers asks for
    return config


EXPORTS = [
    (kind, to)
    for kind in ('classifier', 'pretraining', 'segmentor')
    for to in ('huggingface', 'timm', 'beit_mm')
    if (kind, to) != ('segmentor', 'timm')  # timm has no segmentors
]


@pytest.mark.parametrize(('kind', 'to'), EXPORTS)
def test_our_exports__are_read_with_the_same_features(tmp_path, pictures, kind, to):
    makers = dict(classifier=made.classifier, pretraining=made.pretraining, segmentor=upernet)
    made.saved(makers[kind](), tmp_path / 'a.pth')
    source = load_model(tmp_path / 'a.pth')
    export(source, tmp_path / 'hub', to=to)
    found = load_model(tmp_path / 'hub')
    image = pictures[0]
    assert found.module is not source.module
    for layer in (-1, -2):
        expected = source.embed(image, layer=layer).features
        np.testing.assert_allclose(found.embed(image, layer=layer).features, expected, atol=1e-4)


def test_a_classifier_by_another_pooling__is_refused_or_an_encoder(tmp_path, pictures):
    arguments = dict(TIMM, num_classes=3, global_pool='token')
    model = drawn(timm.create_model('beit_base_patch16_224', **arguments))
    save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    assert load_model(tmp_path).task == 'backbone'
    arguments['use_fc_norm'] = True
    model = drawn(timm.create_model('beit_base_patch16_224', **arguments))
    save_for_hf(model, tmp_path, model_args=arguments, safe_serialization=True)
    with pytest.raises(UserError, match="global_pool='token' before fc_norm"):
        load_model(tmp_path)


def test_weights_of_older_transformers__are_read(tmp_path, pictures):
    model, _ = of_transformers(tmp_path, 'BeitModel')
    expected = load_model(tmp_path).embed(pictures).features
    (tmp_path / 'model.safetensors').unlink()
    torch.save(model.state_dict(), tmp_path / 'pytorch_model.bin')
    np.testing.assert_array_equal(load_model(tmp_path).embed(pictures).features, expected)


def test_export_of_a_folder__loads_by_itself(tmp_path, pictures):
    changes = NAMES | POSITIONS['tables']
    of_transformers(tmp_path / 'theirs', 'BeitForImageClassification', **changes)
    export(tmp_path / 'theirs', tmp_path / 'ours', to='beit_mm')
    found, expected = (
        load_model(tmp_path / name).classify(pictures) for name in ('ours', 'theirs')
    )
    np.testing.assert_array_equal(found.pred_scores, expected.pred_scores)


BROKEN = dict(
    no_json=('{', 'is no JSON file'),
    list=('[1]', 'holds a list'),
    vit=('{"model_type": "vit"}', "model_type='vit'"),
    deit=('{"architecture": "deit_base"}', "architecture='deit_base'"),
    size=('{"model_type": "beit", "image_size": {}}', 'config.json cannot be understood'),
    heads=('{"model_type": "beit"}', 'num_heads=12'),
    act=('{"model_type": "beit", "hidden_act": "relu"}', "hidden_act='relu'"),
    eps=('{"model_type": "beit", "layer_norm_eps": -1}', 'layer_norm_eps=-1; expected a positive'),
    border=(
        '{"architecture": "beit_base_patch16_224", "crop_mode": "border"}',
        "crop_mode='border'",
    ),
    mlp=('{"architecture": "beit_x", "model_args": {"scale_mlp": true}}', 'scale_mlp=True'),
    nothing=('{}', 'does not say how its model is built'),
)


@pytest.mark.parametrize(('text', 'says'), BROKEN.values(), ids=BROKEN)
def test_config_that_is_no_beit__is_an_error_in_words(tmp_path, text, says):
    of_transformers(tmp_path, 'BeitModel')
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(UserError, match=says):
        load_model(tmp_path)


def test_values_of_another_kind__are_errors_in_words(tmp_path):
    of_transformers(tmp_path, 'BeitModel')
    image = Image.new('RGB', (32, 32), 'red')
    for name in ('config.json', 'preprocessor_config.json'):
        path = tmp_path / name
        whole = json.loads(path.read_text())
        for key in whole:
            for value in (None, 'a', -1, 0, [], {}, [None] * 3, [0.5] * 4, [0] * 3):
                path.write_text(json.dumps(dict(whole, **{key: value})))
                try:
                    load_model(tmp_path).embed(image)
                except UserError:
                    pass  # whatever else is raised fails the test
        path.write_text(json.dumps(whole))
