"""Inferencers of mmpretrain and mmseg, and configs found by name, on the shipped configs."""

import copy
import re
import runpy
import sys
from pathlib import Path

import cv2
import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.hub import get_config, get_model
from mmengine.infer import BaseInferencer
from mmengine.registry import TRANSFORMS
from mmpretrain import FeatureExtractor, ImageClassificationInferencer
from mmpretrain import get_model as get_classifier
from mmseg.apis import MMSegInferencer, inference_model, init_model
from mmseg.registry import MODELS as SEGMENTORS
from modelindex.load_model_index import load as load_index
from shipped_configs import CONFIGS, LEAVES, ROOT, cut_down, loaded, smaller

from beit_mm.contracts import UserError
from beit_mm.named_configs import link_checkout

pytestmark = pytest.mark.slow

IMAGES = [np.random.RandomState(n).randint(0, 256, (40, 50 - n, 3), np.uint8) for n in range(2)]
SEGMENT = 'segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py'
CLASSIFY = 'classification/beit-micro-p8_scratch_ft_digit-scenes-500.py'


def leaves(kind: str):
    found = [leaf for leaf in LEAVES if leaf.parts[0] == kind and loaded(leaf).get('test_pipeline')]
    if kind == 'pretrain':
        found = [n for n in LEAVES if n.parts[0] == kind and loaded(n).get('test_dataloader')]
    assert len(found) > 11
    return pytest.mark.parametrize('leaf', found, ids=lambda leaf: leaf.stem)


def small(leaf) -> Config:
    config = copy.deepcopy(loaded(leaf))
    options = cut_down(config.model)
    if config.default_scope == 'mmseg':
        options |= smaller(config, config.model.data_preprocessor.size[0])
    config.merge_from_dict(options)
    return config


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp('images') / 'a.png'
    cv2.imwrite(str(path), IMAGES[0])
    return str(path)


@leaves('classification')
def test_classification__images_of_any_size_and_their_features(leaf, image):
    config = small(leaf)
    torch.manual_seed(0)
    infer = ImageClassificationInferencer(config, pretrained=False, device='cpu')
    results = infer([image, *IMAGES], batch_size=3)
    assert np.allclose(results[0]['pred_scores'], results[1]['pred_scores'], atol=1e-6)
    assert len(results[2]['pred_scores']) == config.model.head.num_classes
    torch.manual_seed(0)
    extract = FeatureExtractor(small(leaf), pretrained=False, device='cpu')
    (features,) = extract(image, stage='backbone')
    assert all(feature.isfinite().all() for feature in features)


@leaves('segmentation')
def test_segmentation__both_ways_of_mmseg_agree(leaf, image):
    torch.manual_seed(0)
    infer = MMSegInferencer(small(leaf), device='cpu', show_progress=False)
    masks = infer([image, IMAGES[1]])['predictions']
    assert [mask.shape for mask in masks] == [picture.shape[:2] for picture in IMAGES]
    torch.manual_seed(0)
    for source in (image, IMAGES[0]):  # inference_model changes the pipeline of the model's config
        model = init_model(small(leaf), device='cpu')
        model.load_state_dict(infer.model.state_dict())
        found = inference_model(model, source).pred_sem_seg.data[0].numpy()
        assert np.array_equal(found, masks[0])


@leaves('pretrain')
def test_pretraining__mmpretrain_extracts_features(leaf, image):
    extract = FeatureExtractor(small(leaf), pretrained=False, device='cpu')
    *_, tokens = extract([image, IMAGES[1]], batch_size=2)[0]  # v2 has an early layer before it
    assert tokens.ndim == 2 and tokens.isfinite().all()


def test_child_of_a_user__with_its_weights_and_classes(tmp_path, image):
    """As mmseg's page says it: a config file and a checkpoint."""
    classes = ('floor', *'abcdefghij')
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{CONFIGS / SEGMENT}'\n"
        f'test_dataloader = dict(dataset=dict(data_root="x", metainfo=dict(classes={classes})))'
    )
    model = init_model(str(path), device='cpu')
    meta = dict(dataset_meta=dict(classes=classes, palette=[[n, n, n] for n in range(11)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'a.pth')
    infer = MMSegInferencer(str(path), str(tmp_path / 'a.pth'), device='cpu', show_progress=False)
    found = infer(image, out_dir=str(tmp_path / 'out'), return_vis=True)
    assert infer.visualizer.dataset_meta['classes'] == classes
    assert found['visualization'].shape == IMAGES[0].shape
    assert np.array_equal(
        found['predictions'], inference_model(model, image).pred_sem_seg.data[0].numpy()
    )


def test_training_data_without_masks__is_still_an_error():
    for step in config_of(SEGMENT).test_pipeline[1:3]:
        transform = TRANSFORMS.build(dict(step))
        bare = dict(img=IMAGES[0])
        assert transform(bare) is bare
        with pytest.raises((UserError, KeyError)):
            transform(dict(bare, sample_idx=3))


def config_of(leaf: str) -> Config:
    return copy.deepcopy(loaded(Path(leaf)))


def test_get_flops_of_mmseg(monkeypatch, capsys):
    tool = Path(mmseg.__file__).parent / '.mim/tools/analysis_tools/get_flops.py'
    monkeypatch.setattr(sys, 'argv', [str(tool), str(CONFIGS / SEGMENT), '--shape', '32'])
    runpy.run_path(str(tool), run_name='__main__')
    assert 'Flops' in capsys.readouterr().out


# ---- configs by name ----


@pytest.mark.parametrize('leaf', [CLASSIFY, SEGMENT, 'pretrain/beit_beit-micro-p8_digit-scenes.py'])
def test_names__as_base_and_in_the_hub(leaf, tmp_path):
    own = config_of(leaf)
    assert get_config(f'beit_mm::{leaf}').to_dict() == own.to_dict()
    (tmp_path / 'child.py').write_text(f"_base_ = 'beit_mm::{leaf}'\nresume = True\n")
    child = Config.fromfile(tmp_path / 'child.py')
    assert child.to_dict() == dict(own.to_dict(), resume=True)
    model = get_model(f'beit_mm::{leaf}')
    assert type(model).__name__ == own.model.type
    expected = (own.get('data_preprocessor') or own.model.data_preprocessor).mean
    assert model.data_preprocessor.mean.flatten().tolist() == expected


def test_name_of_no_config__is_named(tmp_path):
    (tmp_path / 'child.py').write_text("_base_ = 'beit_mm::pretrain/gone.py'\n")
    with pytest.raises(FileNotFoundError, match='pretrain/gone.py'):
        Config.fromfile(tmp_path / 'child.py')


def test_checkout__is_linked_and_no_other_folder(tmp_path):
    package = tmp_path / 'beit_mm'
    package.mkdir()
    link_checkout(package)
    (tmp_path / 'configs').mkdir()
    link_checkout(package)
    assert list(package.iterdir()) == []
    for name in ('tools', 'setup.py', 'model-index.yml'):
        (tmp_path / name).mkdir()
    for _ in range(2):
        link_checkout(package)
        assert {path.name for path in (package / '.mim').iterdir()} == {
            *('configs', 'tools', 'model-index.yml')
        }
    assert (package / '.mim/configs').samefile(tmp_path / 'configs')
    package.rename(tmp_path / 'x')
    assert (tmp_path / 'x/.mim/configs').samefile(tmp_path / 'configs')


def test_model_index__has_every_config_once_and_what_is_true_of_it():
    index = load_index(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert sorted(model.config for model in index.models) == [f'configs/{leaf}' for leaf in LEAVES]
    collections = {collection.name for collection in index.collections}
    for path in load(ROOT / 'model-index.yml')['Import']:
        for model in load(ROOT / path)['Models']:
            assert {*model} - {'Results'} == {'Name', 'In Collection', 'Config', 'Metadata'}
            leaf = Path(model['Config']).relative_to('configs')
            config, facts = loaded(leaf), model['Metadata']
            assert model['Name'] == leaf.stem and model['In Collection'] in collections
            train = config.train_cfg
            assert (facts.get('Epochs'), facts.get('Iterations')) == (
                train.get('max_epochs'),
                train.get('max_iters'),
            )
            known = config.get('auto_scale_lr', config.train_dataloader)
            total = known.get('base_batch_size') or known.batch_size
            assert facts['Batch Size'] == total, leaf
            data = dict(i='ImageNet-1k', c='CIFAR-10', a='ADE20K', d='Digit scenes')
            expected = data.get(leaf.stem.split('_')[-1][0], 'Images of your own')
            assert facts['Training Data'] == expected
    micro = sorted(leaf.stem for leaf in LEAVES if leaf.stem.startswith('beit-micro'))
    assert sorted(BaseInferencer.list_models('beit_mm', 'beit-micro')) == micro


def test_model_index__has_the_measured_means_of_the_readme():
    means = re.findall(r'\| ([\d.]+) \(', (ROOT / 'README.md').read_text())
    found = {
        model.config: value
        for model in load_index(str(ROOT / 'model-index.yml')).models
        for result in model.results or ()
        for value in result.metrics.values()
    }
    rows = (('classification', 'ft'), ('segmentation', 'setr-naive'))
    configs = [
        f'configs/{task}/beit-micro-p8_{start}_{how}_digit-scenes-500.py'
        for task, how in rows
        for start in ('beit', 'scratch')
    ]
    assert found == dict(zip(configs, map(float, means), strict=True))


def test_models_of_mmpretrain_and_mmseg__take_ours_by_path():
    assert type(get_classifier(str(CONFIGS / CLASSIFY))).__name__ == 'ImageClassifier'
    assert SEGMENTORS.build(config_of(SEGMENT).model).data_preprocessor.mean is not None
