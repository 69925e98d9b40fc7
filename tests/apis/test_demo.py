import random

import checkpoints_of_models as made
import numpy as np
import pytest

from beit_mm import load_model
from beit_mm.apis import demo
from beit_mm.apis.reports.pictures import blockwise_masks

MAKERS = dict(
    tokenizer=made.tokenizer,
    pretraining=made.pretraining,
    classifier=made.classifier,
    segmentor=made.segmentor,
)


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp('demo')
    for name, make in MAKERS.items():
        made.saved(make(), folder / f'{name}.pth')
    return {name: load_model(folder / f'{name}.pth') for name in MAKERS}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (40, 48, 3), dtype=np.uint8)


def test_offers__what_the_task_can(models):
    assert {name: demo.offers(model) for name, model in models.items()} == dict(
        tokenizer=['tokens'],
        pretraining=['mask', 'tokens', 'attention'],
        classifier=['classes', 'attention'],
        segmentor=['segmentation', 'attention'],
    )


def test_continuous_targets__offer_no_tokens(tmp_path):
    features = dict(type='PatchPixels', patch_size=8)
    target = dict(type='FeatureTarget', stride=8, features=features)
    made.saved(made.pretraining(target, head='FeatureRegressionHead'), tmp_path / 'a.pth')
    assert demo.offers(load_model(tmp_path / 'a.pth')) == ['attention']


def test_mask__patches_are_toggled_where_the_picture_is_clicked(models, image):
    model = models['pretraining']
    grid = demo.patch_grid(model, image)
    assert grid == (4, 4)
    picture = demo.masked(model, image, np.zeros(grid, bool))
    side = picture.shape[0]
    assert picture.shape[:2] == (side, side) and side >= demo.SIDE
    assert demo.patch_at([side * 0.8, side * 0.3], picture, grid) == (1, 3)
    assert demo.patch_at([side, side], picture, grid) == (3, 3)
    mask = demo.toggled(np.zeros(grid, bool), (1, 3))
    assert np.argwhere(mask).tolist() == [[1, 3]]
    shown = demo.masked(model, image, mask)
    quarter = side // 4
    assert (shown[quarter : 2 * quarter, 3 * quarter :] == 128).all()
    assert (shown[:quarter] == picture[:quarter]).all()
    assert not demo.toggled(mask, (1, 3)).any()
    square = demo.toggled(mask, (0, 0), brush=2)
    assert np.argwhere(square).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 3]]
    assert demo.toggled(mask, (0, 0), brush=3).sum() == 5  # cut at the border


@pytest.mark.parametrize('grid', [(14, 14), (4, 4), (1, 3)])
@pytest.mark.parametrize('share', [0.05, 0.4, 0.95])
def test_blockwise_masks__about_the_share_and_the_random_state_is_kept(grid, share):
    state = random.getstate()
    (mask,) = blockwise_masks([grid], share, seed=1)
    assert random.getstate() == state
    assert mask.shape == grid and 1 <= mask.sum() <= max(round(share * mask.size), 1)
    assert (blockwise_masks([grid], share, seed=1)[0] == mask).all()


def test_prediction__changes_masked_patches_alone(models, image):
    mask = np.zeros((4, 4), bool)
    assert demo.predict_masked(models['pretraining'], image, mask)[0] is None
    mask[2, 1:3] = True
    predicted, truth, text = demo.predict_masked(models['pretraining'], image, mask)
    found = models['pretraining'].reconstruct([image], mask=mask, progress=False)
    right = (found.predicted_ids == found.true_ids)[0][mask].sum()
    assert text.startswith(f'{right} of 2 masked tokens are right')
    quarter = predicted.shape[0] // 4
    hidden = np.kron(mask, np.ones((quarter, quarter), bool))
    assert (predicted[~hidden] == truth[~hidden]).all()
    whole = demo.enlarged((found.original[0] * 255).round().astype(np.uint8))
    assert (truth[~hidden] == whole[~hidden]).all() and (truth[hidden] != whole[hidden]).any()


def test_tokens__a_color_for_each(models, image):
    colors, decoded, text = demo.show_tokens(models['pretraining'], image)
    ids = models['pretraining'].tokenize([image], progress=False).ids[0]
    side = colors.shape[0] // 4
    assert len(np.unique(colors.reshape(-1, 3), axis=0)) == len(np.unique(ids))
    assert (colors[::side, ::side].reshape(16, 3)[ids.flatten() == ids[0, 0]] == colors[0, 0]).all()
    assert decoded.shape[0] >= demo.SIDE
    assert text.split('```')[1].split() == [str(number) for number in ids.flatten()]


def test_attention_classes_and_segmentation(models, image):
    model = models['classifier']
    marked = demo.attend(model, image, (1, 2), layer=0)
    plain = demo.attend(model, image, None, layer=0)
    assert marked.shape == plain.shape and (marked != plain).any()
    found = demo.classify(model, image)
    best = model.classify([image], progress=False)
    assert max(found, key=found.get) == best.pred_class[0]
    assert max(found.values()) == pytest.approx(best.pred_score[0])
    picture, parts = demo.segment(models['segmentor'], image)
    result = models['segmentor'].segment([image], progress=False)
    assert (picture == demo.enlarged(image)).all() and picture.shape == (400, 480, 3)
    ids = demo.enlarged(result.masks[0])
    assert len(np.unique(ids)) > 1 and len(parts) == len({*np.unique(ids)} - {0})  # black
    assert all((pixels == (ids == result.names.index(name))).all() for pixels, name in parts)
    colors = demo.class_colors(models['segmentor'])
    assert colors == dict(ground='#000000', tree='#00c800', sky='#0000fa')
