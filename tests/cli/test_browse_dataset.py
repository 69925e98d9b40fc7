import checkpoints_of_models as made
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from beit_mm.cli.browse_dataset import SIDE, Browser, main, read_file
from beit_mm.contracts import UserError
from beit_mm.datasets.transforms import LoadMultiBandImage


def config_of(tmp_path, config):
    made.write_images(tmp_path / 'images', sizes=[(40, 48)] * 3)
    config.train_dataloader.dataset.data_root = str(tmp_path / 'images')
    return config


def test_pretraining__views_and_the_mask_of_one_crop(tmp_path):
    browser = Browser(config_of(tmp_path, made.pretraining()), 'train')
    state = torch.get_rng_state()
    sheet = browser.sheet(2, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(sheet, browser.sheet(2, seed=0))
    assert (sheet != browser.sheet(2, seed=1)).any()
    sample, info = browser.dataset[0], browser.dataset.get_data_info(0)
    views, label = browser.views(sample, info)
    assert [*views] == ['file', 'input', 'tokenizer', 'masked'] and label == ''
    red = cv2.imread(info['img_path'])[..., 2]
    assert (views['file'][..., 0] == red).all()
    assert (views['input'] == sample['inputs'].numpy()[::-1].transpose(1, 2, 0)).all()
    hidden = np.kron(sample['mask'].numpy(), np.ones((8, 8), bool))
    assert (views['masked'][hidden] == 128).all()
    assert (views['masked'][~hidden] == views['input'][~hidden]).all()


def test_segmentation__classes_over_the_input(tmp_path):
    config = made.segmentor()
    config.train_dataloader = config.test_dataloader
    made.write_images(tmp_path / 'images')
    for path in (tmp_path / 'images').glob('*.png'):
        mask = np.zeros(cv2.imread(str(path)).shape[:2], np.uint8)
        mask[:10] = 1
        (tmp_path / 'masks').mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / 'masks' / path.name), mask)
    config.train_dataloader.dataset.update(
        data_root=str(tmp_path),
        data_prefix=dict(img_path='images', seg_map_path='masks'),
        img_suffix='.png',
        seg_map_suffix='.png',
    )
    config.train_dataloader.dataset.pipeline.pop(1)  # the resize
    browser = Browser(config, 'train')
    views, label = browser.views(browser.dataset[0], browser.dataset.get_data_info(0))
    assert label == 'ground, tree'
    changed = (views['classes'] != views['input']).any(2)
    assert changed[:10].all() and not changed[10:].any()
    browser.palette = [(0, 0, 0), (12, 200, 90)]
    sheet = browser.sheet(1, seed=0)
    assert (sheet[:, -130:] == (12, 200, 90)).all(2).any(), 'no legend'


@pytest.mark.parametrize('dtype, low, high', [('uint16', 0, 900), ('float32', -1.0, 2.0)])
def test_file__of_other_values_is_not_black(tmp_path, dtype, low, high):
    scan = np.full((8, 9), low, dtype)
    scan[:4] = high
    cv2.imwrite(str(tmp_path / 'scan.tif'), scan)
    load = LoadMultiBandImage()
    found = read_file(tmp_path / 'scan.tif', load)
    assert found.shape == (8, 9, 3) and (found[:4] == 255).all() and (found[4:] == 0).all()
    assert read_file(tmp_path / 'none.png', load) is None and read_file(None, load) is None


def test_file_and_input__of_floats_and_bands_show_the_same_colors(tmp_path):
    rng = np.random.default_rng(0)
    bands = (rng.random((8, 8, 4)) * 3).astype(np.float32)
    bands[0, 0], bands[0, 1] = 0, 3
    np.save(tmp_path / 'a.npy', bands.transpose(2, 0, 1))
    loader = dict(type='LoadMultiBandImage', layout='chw')
    model = made.tokenizer(dict(made.DVAE, in_channels=4), loader=loader)
    dataset = config_of(tmp_path, model).train_dataloader.dataset
    dataset.update(data_root=str(tmp_path), extensions='.npy')
    dataset.pipeline = [dataset.pipeline[0], dict(type='PackMIMInputs')]
    config = dict(default_scope='beit_mm', train_dataloader=dict(dataset=dataset))
    browser = Browser(Config(config), 'train')
    info = browser.dataset.get_data_info(0)
    views, _ = browser.views(browser.dataset[0], info)
    expected = (bands[..., :3] / 3 * 255).round()
    assert np.abs(views['input'] - expected).max() <= 1
    assert np.abs(views['file'] - expected).max() <= 1


def test_main__writes_a_picture(tmp_path, capsys):
    config_of(tmp_path, made.tokenizer()).dump(tmp_path / 'config.py')
    out = tmp_path / 'sheet.png'
    main([str(tmp_path / 'config.py'), '--number', '3', '--out', str(out)])
    assert capsys.readouterr().out.endswith(f'{out}\n')
    assert cv2.imread(str(out)).shape[0] > 3 * SIDE
    with pytest.raises(UserError, match='no val_dataloader'):
        Browser(Config.fromfile(tmp_path / 'config.py'), 'val')


def test_labels__of_many_letters_are_whole_on_several_lines(tmp_path, monkeypatch):
    config = config_of(tmp_path, made.tokenizer())
    browser = Browser(config, 'train')
    label = 'WWWWWWWW WWWWWWWWWWW, somewhat torn (waste)'
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    monkeypatch.setattr(browser, 'views', lambda sample, info: ({'input': image}, label))
    seen = {}
    monkeypatch.setattr('beit_mm.cli.browse_dataset.grid', lambda *_, **k: seen.update(k) or image)
    browser.sheet(1, seed=0)
    lines = seen['labels'][0].split('\n')
    assert ' '.join(lines) == label and max(map(len, lines)) <= 13
