"""What load_model gives is what the module gives in a test of the training's own library."""

import checkpoints_of_models as made
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import TRANSFORMS
from PIL import Image

from beit_mm import load_model
from beit_mm.contracts import UserError

pytestmark = pytest.mark.slow

FIVE_BANDS = dict(type='beit_mm.LoadMultiBandImage', channels=5)
GRAY = dict(type='LoadImageFromFile', color_type='grayscale')


def batch_of(config, paths, loader='test_dataloader', collate=default_collate):
    """Files through the pipeline of a config, as a dataloader gives them."""
    with TRANSFORMS.switch_scope_and_registry(config.default_scope) as registry:
        steps = config[loader].dataset.pipeline
        pipeline = Compose([registry.build(dict(step)) for step in steps])
    return collate([pipeline(dict(img_path=path, sample_idx=0)) for path in paths])


@pytest.mark.parametrize(
    ('options', 'images'),
    [
        (dict(), dict()),
        (dict(neck='gap'), dict()),
        (dict(size=(32, 48)), dict(sizes=((48, 80), (60, 64)))),
        (dict(loader=GRAY, in_channels=1), dict(channels=1)),
        (dict(loader=FIVE_BANDS, in_channels=5), dict(channels=5, dtype=np.uint16)),
    ],
    ids=['mean', 'gap', 'not square', 'gray', '5 bands of 16 bits'],
)
def test_classify__scores_are_those_of_mmpretrains_test_step(tmp_path, options, images):
    config = made.classifier(**options)
    module = made.saved(config, tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images', **images)
    data = batch_of(config, paths)
    with torch.no_grad():
        expected = torch.stack([sample.pred_score for sample in module.test_step(data)]).numpy()
    result = load_model(tmp_path / 'a.pth').classify(tmp_path / 'images')
    assert result.files == paths
    np.testing.assert_array_equal(result.pred_scores, expected)
    assert np.ptp(expected) > 0.05  # else anything would be equal
    assert (result.pred_label == expected.argmax(1)).all()
    assert [row['pred_class'] for row in result] == [
        ('ant', 'bee', 'cow', 'dog')[label] for label in result.pred_label
    ]


@pytest.mark.parametrize('pool', ['mean', 'cls', 'patches'])
@pytest.mark.parametrize('layer', [-1, 0, 2])
def test_embed__is_the_encoders_own_output(tmp_path, pool, layer):
    config = made.classifier()
    module = made.saved(config, tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images')
    inputs = module.data_preprocessor(batch_of(config, paths))['inputs']
    module.backbone.out_indices = [0, 1, 2, 3]
    with torch.no_grad():
        tokens = module.backbone(inputs)[layer]
    expected = dict(
        mean=tokens[:, 1:].mean(1), cls=tokens[:, 0], patches=tokens[:, 1:].unflatten(1, (4, 4))
    )[pool]
    result = load_model(tmp_path / 'a.pth').embed(paths, layer=layer, pool=pool)
    np.testing.assert_allclose(result.features, expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'sizes'),
    [
        (dict(divisor=8), ((40, 48), (64, 50))),
        (dict(divisor=8, head='UPerHead'), ((40, 48),)),
        (dict(mode='slide'), ((40, 48), (64, 50), (40, 48))),
        (dict(resize=False), ((32, 48),)),
    ],
    ids=['padded', 'upernet', 'slide', 'own size'],
)
def test_segment__mask_is_that_of_mmsegs_test_step(tmp_path, options, sizes):
    config = made.segmentor(**options)
    module = made.saved(config, tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images', sizes)
    result = load_model(tmp_path / 'a.pth').segment(tmp_path / 'images', batch_size=3)
    config.test_dataloader.dataset.pipeline = [
        step for step in config.test_dataloader.dataset.pipeline if 'Seg' not in step.type
    ] + [dict(type='PackSegInputs')]
    for path, size, mask, row in zip(paths, sizes, result.masks, result, strict=True):
        with torch.no_grad():
            (sample,) = module.test_step(batch_of(config, [path], collate=pseudo_collate))
        assert mask.shape == size and (row['predictions'] == mask).all()
        np.testing.assert_array_equal(mask, sample.pred_sem_seg.data[0].numpy())
    assert len(np.unique(np.concatenate([mask.flatten() for mask in result.masks]))) > 1


def centered(path: str, size: tuple[int, int], resample=Image.Resampling.BICUBIC) -> np.ndarray:
    """The largest crop of this shape in the center, resized, as (C, H, W) in float."""
    image = np.load(path) if path.endswith('npy') else np.array(Image.open(path))
    image = image[..., None] if image.ndim == 2 else image
    height, width = image.shape[:2]
    tall, wide = (
        min(height, round(width * size[0] / size[1])),
        min(width, round(height * size[1] / size[0])),
    )
    top, left = (height - tall) // 2, (width - wide) // 2
    crop = image[top : top + tall, left : left + wide]
    planes = []
    for plane in crop.transpose(2, 0, 1):
        wide_type = plane if plane.dtype == np.uint8 else plane.astype(np.float32)
        planes.append(np.array(Image.fromarray(wide_type).resize(size[::-1], resample)))
    found = np.stack(planes).astype(np.float32)
    return found if image.dtype == np.uint8 else found.round().clip(0, 65535)


BANDS_OF_TOKENIZER = dict(
    loader=FIVE_BANDS | dict(type='LoadMultiBandImage'), std=65535.0, bgr=False
)


@pytest.mark.parametrize(
    ('options', 'size', 'images'),
    [
        (dict(), (32, 32), dict()),
        (dict(model=made.VQKD), (32, 32), dict()),
        (dict(model=made.PROJECTION), (32, 32), dict()),
        (dict(size=(32, 48)), (32, 48), dict(sizes=((48, 72), (60, 60)))),
        (dict(model=made.DVAE | dict(in_channels=1), loader=GRAY), (32, 32), dict(channels=1)),
        (
            dict(model=made.DVAE | dict(in_channels=5), **BANDS_OF_TOKENIZER),
            (32, 32),
            dict(channels=5, dtype=np.uint16),
        ),
    ],
    ids=['dvae', 'vqkd', 'projection', 'not square', 'gray', '5 bands of 16 bits'],
)
def test_tokenizer__tokens_and_images_are_those_of_its_predict(tmp_path, options, size, images):
    module = made.saved(made.tokenizer(**options), tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images', **images)
    white = 65535 if 'dtype' in images else 255
    inputs = torch.stack(
        [torch.from_numpy(centered(p, size, Image.Resampling.BICUBIC) / white) for p in paths]
    )
    expected = module.predict(inputs.float())
    ids = np.stack([sample['ids'] for sample in expected])
    assert len(np.unique(ids)) > 1
    model = load_model(tmp_path / 'a.pth')
    found = model.tokenize(paths)
    np.testing.assert_array_equal(found.ids, ids)
    assert found.vocab_size == 16 and (model.predict(paths).ids == ids).all()
    recon = model.reconstruct(paths)
    np.testing.assert_array_equal(recon.true_ids, ids)
    assert not recon.mask.any()
    if not module.can_decode:
        assert recon.predicted is None
        with pytest.raises(UserError, match='cannot decode'):
            model.detokenize(found)
        return
    images = np.stack([sample['recon'].permute(1, 2, 0) for sample in expected])
    np.testing.assert_allclose(recon.predicted, images, atol=1e-5)
    np.testing.assert_allclose(model.detokenize(found), images, atol=1e-5)
    np.testing.assert_allclose(recon.original, inputs.permute(0, 2, 3, 1), atol=1e-6)


V2 = dict(
    backbone=dict(out_indices=(1, 3)),
    neck=dict(type='PatchAggregationNeck', num_layers=1, early_layer=2),
)


@pytest.mark.parametrize(
    ('options', 'size'),
    [
        (dict(), (32, 32)),
        (dict(token=made.VQKD, **V2), (32, 32)),
        (dict(token=made.PROJECTION), (32, 32)),
        (dict(size=(32, 48)), (32, 48)),
    ],
    ids=['v1', 'v2', 'projection', 'not square'],
)
def test_pretraining__tokens_are_those_of_its_predict(tmp_path, options, size):
    module = made.saved(made.pretraining(**options), tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images', ((48, 72), (60, 60), (33, 40)))
    pixels = np.stack([centered(path, size) for path in paths])
    second = np.stack([centered(path, size, Image.Resampling.LANCZOS) for path in paths])
    mask = np.random.default_rng(1).random((3, size[0] // 8, size[1] // 8)) < 0.4
    data = dict(inputs=torch.from_numpy(pixels).flip(1), mask=torch.from_numpy(mask))
    data['token_inputs'] = torch.from_numpy(second).flip(1)  # as OpenCV loads it
    with torch.no_grad():
        expected = module(**module.data_preprocessor(data), mode='predict')
    model = load_model(tmp_path / 'a.pth')
    found = model.reconstruct(paths, mask=mask, batch_size=2)
    np.testing.assert_array_equal(found.mask, mask)
    for index, sample in enumerate(expected):
        chosen = mask[index]
        assert found.predicted_ids[index][chosen].tolist() == sample['pred_ids'].tolist()
        assert found.true_ids[index][chosen].tolist() == sample['target_ids'].tolist()
        kept = found.predicted_ids[index][~chosen] == found.true_ids[index][~chosen]
        assert kept.all()
    assert len(np.unique(np.concatenate([sample['pred_ids'] for sample in expected]))) > 1
    np.testing.assert_array_equal(model.tokenize(paths).ids, found.true_ids)
    if module.tokenizer.can_decode:
        ids = torch.from_numpy(found.predicted_ids)
        images = module.tokenizer.decode(ids).clamp(0, 1).permute(0, 2, 3, 1).detach()
        np.testing.assert_allclose(found.predicted, images, atol=1e-5)
        hidden = mask.repeat(8, 1).repeat(8, 2)
        assert (found.masked[hidden] == 0.5).all()
        assert (found.masked[~hidden] == found.original[~hidden]).all()


@pytest.mark.parametrize(('layer', 'query'), [(-1, None), (0, (1, 2)), (1, (3, 0))])
def test_attention__is_what_the_layer_computes_with(tmp_path, layer, query):
    config = made.classifier()
    module = made.saved(config, tmp_path / 'a.pth')
    paths = made.write_images(tmp_path / 'images')
    found = load_model(tmp_path / 'a.pth').attention(paths, query=query, layer=layer)
    np.testing.assert_allclose(found.maps.sum((2, 3)) + found.to_class, 1, rtol=1e-5)

    seen = {}
    attn = module.backbone.blocks[layer].attn
    attn.register_forward_hook(lambda m, args, out: seen.update(x=args[0], out=out))
    with torch.no_grad():
        module.backbone(module.data_preprocessor(batch_of(config, paths))['inputs'])
        row = 0 if query is None else 1 + 4 * query[0] + query[1]
        weights = np.concatenate([found.to_class[..., None], found.maps.reshape(2, 2, 16)], 2)
        values = seen['x'] @ attn.qkv.weight[64:].T + attn.v_bias  # (B, N, C)
        heads = values.unflatten(2, (2, 16)).transpose(1, 2)  # (B, heads, N, C / heads)
        mixed = torch.einsum('bhn,bhnc->bhc', torch.from_numpy(weights), heads).flatten(1)
        expected = attn.proj(mixed)
    np.testing.assert_allclose(seen['out'][:, row], expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(found.maps) > 0.01
