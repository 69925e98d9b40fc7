import copy
import json
import pickle
import random
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from examples import VIT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader, default_collate

from beit_mm.cli import cache_tokens as tool
from beit_mm.contracts import UserError
from beit_mm.datasets import (
    BadImageError,
    CachedTokens,
    ResumableSampler,
    SeededDataset,
    TokenCacheError,
    TokenCacheWriter,
)
from beit_mm.datasets.samplers import SeededIndex
from beit_mm.datasets.token_cache.cache_files import describe, row_type
from beit_mm.registry import DATASETS, MODELS

pytestmark = pytest.mark.slow

IMAGES, EPOCHS, SHARD = 7, 3, 5


def model_config(**tokenizer) -> dict:
    """32-pixel views on a grid of 4 x 4, tokens of 4 pixels in a 16-pixel view."""
    sizes = dict(vocab_size=16, stride=4, width=8, num_blocks=1, code_dim=4, logit_scale=3.0)
    return dict(
        type='MaskedImageModel',
        tokenizer=dict(dict(type='DVAETokenizer', **sizes), **tokenizer),
        backbone=dict(
            type='BEiTEncoder',
            arch=dict(embed_dims=16, num_layers=1, num_heads=2),
            img_size=32,
            patch_size=8,
        ),
        neck=dict(type='MaskedPatchNeck', dims=16),
        head=dict(type='VisualTokenHead', vocab_size=16, dims=16),
    )


def config_of(folder: Path) -> Config:
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='TwoViewResizedCrop', size=32, token_size=16, scale=(0.2, 1.0)),
        dict(type='BlockwiseMask', grid=4, num_masked=6, min_block=2),
        dict(type='PackMIMInputs'),
    ]
    checkpoint = dict(type='Pretrained', checkpoint=str(folder / 'tokenizer.pth'))
    return Config(
        dict(
            default_scope='beit_mm',
            model=model_config(init_cfg=checkpoint),
            data_preprocessor=dict(
                type='TwoViewDataPreprocessor', mean=[100.0], std=[50.0], bgr_to_rgb=True
            ),
            train_dataloader=dict(
                dataset=dict(
                    type='UnlabelledImageFolder',
                    data_root=str(folder / 'images'),
                    pipeline=pipeline,
                ),
            ),
        )
    )


@pytest.fixture(scope='module')
def made(tmp_path_factory) -> Path:
    """Images, a tokenizer that uses several tokens, and their cache."""
    init_default_scope('beit_mm')
    folder = tmp_path_factory.mktemp('made')
    rng = np.random.default_rng(0)
    (folder / 'images/b').mkdir(parents=True)
    for number in range(IMAGES):
        image = rng.integers(0, 256, (40 + number, 60, 3)).astype(np.uint8)
        name = f'{"b/" if number % 2 else ""}{number}.png'
        cv2.imwrite(str(folder / 'images' / name), cv2.GaussianBlur(image, (9, 9), 3))
    torch.manual_seed(1)
    tokenizer = MODELS.build(model_config()['tokenizer']).train()
    with torch.no_grad():
        for _ in range(20):
            tokenizer.posterior(
                torch.rand(4, 3, 4, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
            )
    torch.save(tokenizer.state_dict(), folder / 'tokenizer.pth')
    make(config_of(folder), folder / 'cache')
    return folder


def make(config: Config, out: Path, **changes) -> None:
    arguments = dict(epochs=EPOCHS, seed=5, batch_size=4, workers=0, shard_rows=SHARD, device='cpu')
    tool.cache_tokens(config, out, **dict(arguments, **changes))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('beit_mm')


@pytest.fixture
def own(made, tmp_path) -> Path:
    """A copy of everything, to be spoilt."""
    return Path(shutil.copytree(made, tmp_path / 'own'))


def cached(folder: Path, config: Config | None = None, **kwargs) -> CachedTokens:
    dataset = (config or config_of(folder)).train_dataloader.dataset.to_dict()
    wrapper = dict(type='CachedTokens', dataset=dataset, cache_dir=str(folder / 'cache'), **kwargs)
    return DATASETS.build(wrapper)


# ---- equal to the online path ----


def test_inputs_ids_and_losses__equal_those_of_the_online_path(made):
    data = cached(made)
    model = tool.build_model(config_of(made), 'cpu').train()
    pairs = [(epoch, index) for epoch in range(EPOCHS) for index in range(IMAGES)]
    ours = [data[SeededIndex(index, 9, epoch)] for epoch, index in pairs]
    online = SeededDataset(config_of(made).train_dataloader.dataset.to_dict())
    seeds = [data.views.view_seed(*pair) for pair in pairs]  # chance gives the same crops
    theirs = [
        online[SeededIndex(index, seed)] for (_, index), seed in zip(pairs, seeds, strict=True)
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert 'token_inputs' not in one
        assert torch.equal(one['inputs'], other['inputs'])
        one['mask'] = other['mask']  # masks are drawn anew from a cache
    ours, theirs = (model.data_preprocessor(default_collate(b), True) for b in (ours, theirs))
    ids = model.encode(theirs['token_inputs'])
    assert torch.equal(ours['token_ids'], ids) and len(ids.unique()) > 3
    losses = [model(**batch, mode='loss')['loss'] for batch in (ours, theirs)]
    assert torch.equal(*losses)
    predictions = [model.eval()(**batch, mode='predict') for batch in (ours, theirs)]
    for one, other in zip(*predictions, strict=True):
        assert all(torch.equal(one[key], other[key]) for key in other)


def test_rows__tell_crop_and_flip_of_each_sample(made):
    data = cached(made)
    crops, flips = set(), set()
    for epoch in range(EPOCHS):
        for index, name in enumerate(data.cache.names()):
            row = data.cache[epoch * IMAGES + index]
            image = cv2.imread(str(made / 'images' / name))
            image = image[:, ::-1] if row['flip'] else image
            top, left, height, width = row['crop'].tolist()
            crop = image[top : top + height, left : left + width]
            assert crop.shape[:2] == (height, width)
            mean = data.sample(epoch, index)['img'].mean()
            assert mean == pytest.approx(crop.mean(), abs=1.5)
            crops.add((top, left, height, width))
            flips.add(int(row['flip']))
    assert len(crops) == EPOCHS * IMAGES and flips == {0, 1}


def test_files__plain_and_memory_mapped(made):
    rows = [np.load(path, mmap_mode='r') for path in sorted((made / 'cache').glob('*.npy'))]
    assert [len(part) for part in rows] == [5, 5, 5, 5, 1]
    assert rows[0]['ids'].dtype == np.uint16 and rows[0]['ids'].shape == (5, 4, 4)
    assert not (made / 'cache/progress.json').exists()
    data = pickle.loads(pickle.dumps(cached(made)))
    data[0]
    assert all(isinstance(part, np.memmap) for part in data.cache._maps.values())


def test_format__of_caches_that_exist(tmp_path):
    names = ['0.png', 'é.png']
    crop = dict(type='TwoViewResizedCrop', size=8, scale=(0.2, 1.0), token_size=None)
    pixels = dict(token_scale=255.0, bgr_to_rgb=True)
    plan = describe('a' * 64, 16, pixels, [crop], names, epochs=2, seed=3)
    writer = TokenCacheWriter(tmp_path, plan, names, shard_rows=4)
    rows = np.zeros(4, row_type(16, (2, 2)))
    rows['view'] = range(4)
    writer.append(rows)
    writer.finish()
    index = json.loads((tmp_path / 'index.json').read_text())
    digests = index['shards'][0]['sha256'], index['names'], index['digest']
    assert [digest[:8] for digest in digests] == ['218c9456', '46607698', '6e649a0c']
    files = ['index.json', 'names.json', 'tokens-00000.npy']
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_row_type__wide_ids_for_a_large_vocabulary():
    assert row_type(2**16, (2, 2))['ids'].base == np.uint16
    assert row_type(2**16 + 1, (2, 2))['ids'].base == np.uint32


# ---- epochs and random numbers ----


def test_epochs__in_turn_with_a_sampler_that_tells_them(made):
    data = SeededDataset(cached(made))
    sampler = ResumableSampler(data, seed=3)
    views = []
    for epoch in range(EPOCHS + 1):
        sampler.set_epoch(epoch)
        loader = DataLoader(data, batch_size=1, sampler=sampler)
        order = sampler.order(epoch).tolist()
        samples = dict(zip(order, loader, strict=True))
        views.append([samples[index] for index in range(IMAGES)])
    for first, again in zip(views[0], views[EPOCHS], strict=True):
        assert torch.equal(first['inputs'], again['inputs'])
        assert torch.equal(first['token_ids'], again['token_ids'])
    for first, other in zip(views[0], views[1], strict=True):
        assert not torch.equal(first['inputs'], other['inputs'])
    masks = [torch.cat([s['mask'] for s in views[i]]) for i in (0, EPOCHS)]
    assert not torch.equal(*masks)


def test_plain_indices__draw_among_the_virtual_epochs(made):
    data = cached(made)
    drawn = {data[0]['inputs'].sum().item() for _ in range(40)}
    assert len(drawn) == EPOCHS


def test_view__leaves_the_generators_alone(made):
    data = cached(made)
    expected = random.Random(1).random(), np.random.RandomState(2).rand()
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    first = torch.rand(())
    torch.manual_seed(3)
    data.sample(0, 0)
    assert (random.random(), np.random.rand()) == expected
    assert torch.equal(torch.rand(()), first)


# ---- stopped and begun again ----


def test_stopped__goes_on_after_the_last_whole_shard(made, own, monkeypatch):
    config = config_of(own)
    shutil.rmtree(own / 'cache')
    whole, encoded = tool.encode, []

    def stopping(model, batch):
        if len(encoded) == 3:
            raise KeyboardInterrupt
        encoded.append(len(batch['inputs']))
        return whole(model, batch)

    monkeypatch.setattr(tool, 'encode', stopping)
    with pytest.raises(KeyboardInterrupt):
        make(config, own / 'cache')
    with pytest.raises(TokenCacheError, match=r'is not finished: it has no index.json'):
        cached(own)
    counted = []
    monkeypatch.setattr(
        tool, 'encode', lambda model, b: counted.append(len(b['inputs'])) or whole(model, b)
    )
    make(config, own / 'cache', shard_rows=99)  # the shards that are there decide
    assert sum(counted) == IMAGES * EPOCHS - 2 * SHARD
    for path in (made / 'cache').glob('*.npy'):
        assert path.read_bytes() == (own / 'cache' / path.name).read_bytes()
    counted.clear()
    make(config, own / 'cache')
    assert not counted


def test_damaged_shard__is_made_again(made, own):
    spoil(own / 'cache/tokens-00003.npy')
    make(config_of(own), own / 'cache')
    cached(own)
    for path in (made / 'cache').glob('*.npy'):
        assert path.read_bytes() == (own / 'cache' / path.name).read_bytes()


# ---- stale and foreign caches, each for its own reason ----


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def test_corrupt_shard(own):
    spoil(own / 'cache/tokens-00001.npy')
    with pytest.raises(TokenCacheError, match=r'tokens-00001.npy is missing or is not what was wr'):
        cached(own)
    (own / 'cache/tokens-00001.npy').unlink()
    with pytest.raises(TokenCacheError, match=r'tokens-00001.npy is missing'):
        cached(own)


def test_other_pipeline__its_first_difference(made):
    config = config_of(made)
    config.train_dataloader.dataset.pipeline[2].scale = (0.3, 1.0)
    with pytest.raises(TokenCacheError, match=r'by another pipeline: .*\[0.2, 1.0\].*\[0.3, 1.0\]'):
        cached(made, config)
    config = config_of(made)
    config.train_dataloader.dataset.pipeline[3].num_masked = 9  # a mask is no part of it
    cached(made, config)


def test_other_files(own):
    (own / 'images/0.png').rename(own / 'images/00.png')
    with pytest.raises(
        TokenCacheError, match=r"of other files: files is '0.png' there and '00.png' here"
    ):
        cached(own)
    (own / 'images/00.png').unlink()
    with pytest.raises(TokenCacheError, match=r'number of files: samples is 7 there and 6 here'):
        cached(own)


def test_moved_data__is_the_same(made, own):
    (own / 'images').rename(own / 'moved')
    config = config_of(own)
    config.train_dataloader.dataset.data_root = str(own / 'moved')
    assert torch.equal(
        cached(own, config)[SeededIndex(1, 0, 2)]['inputs'],
        cached(made)[SeededIndex(1, 0, 2)]['inputs'],
    )


def test_changed_image__other_pixels_or_another_crop(own):
    path = str(own / 'images/0.png')
    image = cv2.imread(path)
    cv2.imwrite(path, image // 2)
    data = cached(own)
    with pytest.raises(TokenCacheError, match=r"0.png' has the same crop, but other pixels"):
        data[SeededIndex(0, 0, 0)]
    cv2.imwrite(path, cv2.resize(image, (300, 200)))
    with pytest.raises(TokenCacheError, match=r"0.png' has crop .* when it was encoded, but crop"):
        data[SeededIndex(0, 0, 0)]


def test_other_tokenizer__weights_or_config(made):
    batch = default_collate([cached(made)[i] for i in range(4)])
    weights = tool.build_model(config_of(made), 'cpu')
    with torch.no_grad():
        next(weights.tokenizer.parameters()).view(-1)[0] += 1e-6
    config = config_of(made)
    config.model.tokenizer.logit_scale = 2.0
    models = [weights, tool.build_model(config, 'cpu')]
    for change in (dict(bgr_to_rgb=False), dict(token_scale=510.0)):
        pixels = config_of(made)
        assert any(pixels.data_preprocessor.get(key, 255.0) != change[key] for key in change)
        pixels.data_preprocessor.update(change)
        models.append(tool.build_model(pixels, 'cpu'))
    for model in models:
        packed = model.data_preprocessor(copy.deepcopy(batch), True)
        with pytest.raises(UserError, match='token_ids of the batch come from another tokenizer'):
            model(**packed, mode='loss')


def test_folder_of_another_cache__is_not_written_over(own):
    config = config_of(own)
    config.model.tokenizer.logit_scale = 2.0
    pixels = config_of(own)
    pixels.data_preprocessor.token_scale = 510.0
    before = (own / 'cache/index.json').read_bytes()
    for made_with, message in (
        ((config, {}), 'of another tokenizer'),
        ((pixels, {}), r'of pixels in another scale or order'),
        ((config_of(own), dict(seed=6)), r'with another seed: seed is 5 there and 6 here'),
        ((config_of(own), dict(epochs=4)), 'of another number of virtual epochs'),
    ):
        with pytest.raises(TokenCacheError, match=message):
            make(made_with[0], own / 'cache', **made_with[1])
    with pytest.raises(TokenCacheError, match='is not empty and is no cache'):
        make(config_of(own), own / 'images')
    assert (own / 'cache/index.json').read_bytes() == before


def test_damaged_index_and_another_format(own):
    path = own / 'cache/index.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), format=0)))
    with pytest.raises(TokenCacheError, match='format 0, this version reads 3'):
        cached(own)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(TokenCacheError, match='index.json is damaged'):
        cached(own)


# ---- what a user can get wrong ----


def test_random_weights__are_not_encoded(made, tmp_path):
    config = config_of(made)
    config.model.tokenizer.init_cfg = None
    with pytest.raises(UserError, match='those of random weights; set init_cfg'):
        make(config, tmp_path / 'cache')


@pytest.mark.parametrize('comes_trained', [False, True])
def test_tokens_of_features__are_encoded_if_these_come_trained(made, tmp_path, comes_trained):
    backbone = dict(type='BEiTEncoder', arch=VIT, img_size=16, patch_size=4, out_type='featmap')
    if comes_trained:
        torch.save(MODELS.build(backbone).state_dict(), tmp_path / 'vit.pth')
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth'))
    config = config_of(made)
    config.model.tokenizer = dict(
        type='RandomProjectionTokenizer',
        vocab_size=config.model.tokenizer.vocab_size,
        features=dict(type='BackboneFeatures', dims=16, backbone=backbone),
        stride=4,
    )
    if comes_trained:
        make(config, tmp_path / 'cache')
        assert (tmp_path / 'cache/index.json').exists()
    else:
        with pytest.raises(UserError, match='those of random weights; set init_cfg'):
            make(config, tmp_path / 'cache')


def test_broken_image__is_named_as_in_training(own, tmp_path):
    (own / 'images/2.png').write_bytes(b'no image')
    with pytest.raises(BadImageError, match=r'2\.png.*repair or remove the file'):
        make(config_of(own), tmp_path / 'other')


def test_no_tokenizer_view__nothing_to_cache(made, tmp_path):
    config = config_of(made)
    config.train_dataloader.dataset.pipeline[2].token_size = None
    with pytest.raises(UserError, match='no TwoViewResizedCrop with a token_size'):
        make(config, tmp_path / 'cache')


def test_soft_targets_of_the_posterior__need_the_tokenizer(made):
    config = config_of(made)
    config.model.head.update(type='SoftTokenHead', target='posterior')
    model = tool.build_model(config, 'cpu')
    batch = model.data_preprocessor(default_collate([cached(made)[0]]), True)
    with pytest.raises(UserError, match=r"has ids alone; set model.head.target='ids'"):
        model(**batch, mode='loss')
