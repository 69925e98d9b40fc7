"""k-means, random projections and continuous targets: what is made from features of patches."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.optim import OptimWrapper

from beit_mm.models import (
    FeatureTarget,
    KMeansTokenizer,
    PatchPixels,
    RandomProjectionTokenizer,
)
from beit_mm.registry import MODELS

PIXELS = dict(type='beit_mm.PatchPixels', patch_size=4)
NORMALIZED = dict(PIXELS, normalize=True)
HOG = dict(type='beit_mm.PatchHOG', patch_size=4)
BACKBONE = dict(
    type='beit_mm.BackboneFeatures',
    dims=8,
    backbone=dict(
        type='beit_mm.BEiTEncoder',
        arch=dict(embed_dims=8, num_layers=1, num_heads=2),
        img_size=(8, 12),
        patch_size=4,
        out_type='featmap',
    ),
)


def images(size=8):
    return torch.rand(size, 3, 2, 3).repeat_interleave(4, 2).repeat_interleave(4, 3)


def fitted(features, **kwargs):
    model = KMeansTokenizer(6, features, stride=4, start_vectors=12, **kwargs)
    for _ in range(3):
        model.loss(images())
    return model


@pytest.mark.parametrize('features', [PIXELS, NORMALIZED, HOG, BACKBONE])
def test_kmeans__ids_of_the_nearest_center_of_the_features(features):
    batch = torch.rand(4, 3, 8, 12)
    model = fitted(features)
    model.loss(batch)
    vectors = model.features(batch, (2, 3)).flatten(1, 2)
    expected = torch.cdist(vectors, model.code_vectors()).argmin(-1).view(4, 2, 3)
    assert torch.equal(model.encode(batch), expected)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize('kind', ['kmeans', 'random projection'])
def test_encode__of_a_model_in_another_precision(kind, dtype):
    if kind == 'kmeans':
        model = fitted(PIXELS).eval()
    else:
        model = RandomProjectionTokenizer(6, NORMALIZED, stride=4)
    batch = torch.rand(32, 3, 8, 12)
    ids = model.encode(batch)
    assert (model.to(dtype).encode(batch.to(dtype)) == ids).double().mean() > 0.9


def test_kmeans__pixels_can_be_drawn_others_not():
    model = fitted(PIXELS)
    ids = model.encode(images())
    drawn = model.decode(ids)
    assert model.can_decode and drawn.shape == (8, 3, 8, 12)
    assert torch.equal(model.encode(drawn), ids)
    for features in (NORMALIZED, HOG):
        other = fitted(features)
        assert not other.can_decode and 'recon' not in other.predict(images())[0]
        with pytest.raises(ValueError, match='no decode'):
            other.decode(ids)
    assert not fitted(PIXELS, unit=True).can_decode


def test_kmeans__trained_by_an_optimizer_that_changes_nothing_by_itself():
    model = KMeansTokenizer(6, BACKBONE, stride=4, start_vectors=12)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.0))
    reference = KMeansTokenizer(6, BACKBONE, stride=4, start_vectors=12)
    reference.load_state_dict(model.state_dict())
    for _ in range(3):
        batch = images()
        wrapper.update_params(model.parse_losses(model.loss(batch))[0])
        reference.kmeans.fit(reference.vectors(batch))
    assert torch.equal(model.kmeans.centers, reference.kmeans.centers)
    for name, parameter in model.features.named_parameters():
        assert parameter.grad is None and not parameter.requires_grad, name
    assert not model.train().features.training


def test_kmeans__not_trained_yet_says_so():
    model = KMeansTokenizer(6, PIXELS, stride=4, start_vectors=100)
    losses = model.loss(images())  # 48 vectors wait
    assert losses['loss_distortion'] == 0 and losses['loss_distortion'].requires_grad
    with pytest.raises(ValueError, match='no centers yet.*100 patches'):
        model.encode(images())


def test_kmeans__a_small_data_set_starts_with_what_there_is():
    model = KMeansTokenizer(6, PIXELS, stride=4, start_vectors=100)
    batch = images()
    model.loss(batch)
    assert model.eval().kmeans.fitted
    assert len(model.encode(batch).unique()) > 1


def test_kmeans__evaluation_does_not_fit():
    model = fitted(PIXELS).eval()
    before = model.kmeans.centers.clone()
    model.loss(images())
    assert torch.equal(before, model.kmeans.centers)


def test_kmeans__state_dict_is_the_tokenizer():
    model, other = fitted(HOG), KMeansTokenizer(6, HOG, stride=4)
    other.load_state_dict(model.state_dict())
    batch = torch.rand(4, 3, 8, 12)
    assert torch.equal(model.encode(batch), other.encode(batch))


def test_random_projection__nearest_unit_vector_of_the_normalized_projection():
    model = RandomProjectionTokenizer(9, NORMALIZED, stride=4, code_dim=5)
    batch = torch.rand(4, 3, 8, 12)
    z = F.normalize(model.features(batch) @ model.projection, dim=-1)
    expected = torch.cdist(z.flatten(1, 2), model.codebook).argmin(-1).view(4, 2, 3)
    assert torch.equal(model.encode(batch), expected)
    assert len(expected.unique()) > 2
    torch.testing.assert_close(model.codebook.norm(dim=-1), torch.ones(9))
    bound = (6 / (48 + 5)) ** 0.5  # Xavier uniform
    assert 0.95 * bound < model.projection.abs().max() <= bound


def test_random_projection__of_its_seed_alone_and_in_the_state_dict():
    def make(seed):
        return RandomProjectionTokenizer(9, PIXELS, stride=4, seed=seed)

    first = make(0)
    torch.manual_seed(99)
    second, other = make(0), make(1)
    for name in ('projection', 'codebook'):
        assert torch.equal(getattr(first, name), getattr(second, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))
    other.load_state_dict(first.state_dict())
    assert torch.equal(first.projection, other.projection)
    assert not list(first.parameters())
    with pytest.raises(ValueError, match='no loss'):
        first.loss(images())


def mim(tokenizer, head):
    arch = dict(embed_dims=16, num_layers=1, num_heads=2)
    backbone = dict(type='beit_mm.BEiTEncoder', arch=arch, img_size=(16, 24), patch_size=8)
    model = dict(
        type='beit_mm.MaskedImageModel',
        tokenizer=tokenizer,
        backbone=backbone,
        neck=dict(type='beit_mm.MaskedPatchNeck', dims=16),
        head=dict(head, dims=16),
    )
    return MODELS.build(model)


def batch():
    mask = torch.zeros(4, 2, 3, dtype=torch.bool)
    mask[0, 0, 1] = mask[2, 1] = True
    return dict(inputs=torch.randn(4, 3, 16, 24), token_inputs=images(4), mask=mask)


TARGET = dict(type='beit_mm.FeatureTarget', stride=4, features=NORMALIZED)
REGRESSION = dict(type='beit_mm.FeatureRegressionHead', target_dims=48)


def test_feature_target__pixels_of_the_masked_patches_are_regressed():
    model, own = mim(TARGET, REGRESSION), batch()
    targets = PatchPixels(4, normalize=True)(own['token_inputs'])[own['mask']]
    feats = model.neck(model.backbone(own['inputs'], own['mask']), own['mask'])
    expected = (model.head.predict(feats) - targets).square().mean()
    losses = model(**own, mode='loss')
    torch.testing.assert_close(losses['loss'], expected)
    assert set(losses) == {'loss'} and model.latest_ids is None
    samples = model.eval()(**own, mode='predict')
    assert [len(sample['loss']) for sample in samples] == [1, 0, 3, 0]
    torch.testing.assert_close(torch.cat([s['target'] for s in samples]), targets)
    torch.testing.assert_close(torch.cat([s['loss'] for s in samples]).mean(), expected)


def test_feature_target__positions_all_regress_every_patch():
    model, own = mim(TARGET, dict(REGRESSION, positions='all')), batch()
    rows = []
    model.head.proj.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    model(**own, mode='loss')
    model(**own, mode='predict')
    assert rows == [24, 4]


def test_feature_target__other_sizes_are_named():
    with pytest.raises(ValueError, match='head.target_dims=47, but model.tokenizer gives 48'):
        mim(TARGET, dict(REGRESSION, target_dims=47))
    with pytest.raises(ValueError, match="FeatureTarget is not trained, expected 'tensor'"):
        FeatureTarget(PIXELS, stride=4)(images(), mode='loss')


DVAE = dict(type='beit_mm.DVAETokenizer', vocab_size=8, stride=4, width=8, code_dim=4)
SOFT = dict(type='beit_mm.SoftTokenHead', vocab_size=8)


@pytest.mark.parametrize('target', ['ids', 'neighbors', 'posterior'])
@pytest.mark.parametrize('positions', ['masked', 'all'])
def test_soft_targets__come_from_the_tokenizer(target, positions):
    model, own = mim(DVAE, dict(SOFT, target=target, positions=positions, smoothing=0.5)), batch()
    torch.nn.init.normal_(model.head.proj.weight)
    losses = model(**own, mode='loss')
    where = own['mask'] if positions == 'masked' else torch.ones_like(own['mask'])
    feats = model.neck(model.backbone(own['inputs'], own['mask']), where)
    extras = dict(
        ids={},
        neighbors=dict(codebook=model.tokenizer.code_vectors()),
        posterior=dict(posterior=model.tokenizer.posterior(own['token_inputs'])[where]),
    )[target]
    ids = model.encode(own['token_inputs'])[where]
    q = 0.5 * F.one_hot(ids, 8) + 0.5 * model.head.distribution(ids, **extras)
    expected = F.cross_entropy(model.head.predict(feats), q)
    torch.testing.assert_close(losses['loss'], expected)
    hard = F.cross_entropy(model.head.predict(feats), ids)  # not the loss of the soft target
    torch.testing.assert_close(losses['cross_entropy'], hard)


def test_soft_targets__a_tokenizer_that_has_none():
    with pytest.raises(ValueError, match=r'KMeansTokenizer'):
        tokenizer = dict(type='beit_mm.KMeansTokenizer', vocab_size=8, features=PIXELS, stride=4)
        mim(tokenizer, dict(SOFT, target='posterior'))


@pytest.mark.parametrize(
    'model',
    [
        KMeansTokenizer(6, PIXELS, stride=4),
        RandomProjectionTokenizer(9, PIXELS, stride=4),
    ],
)
def test_images_outside_of_the_unit_range__refused(model):
    with pytest.raises(ValueError, match=r'takes images in \[0, 1\].*token_scale'):
        model.vectors(255 * images()) if hasattr(model, 'kmeans') else model.encode(255 * images())


def test_kmeans__unit_counts_the_direction_alone():
    model, batch = fitted(PIXELS, unit=True), images()
    torch.testing.assert_close(model.vectors(batch).norm(dim=-1), torch.ones(8, 2, 3))
    assert torch.equal(model.encode(batch), model.encode(0.5 * batch))
    assert len(model.encode(batch).unique()) > 1
