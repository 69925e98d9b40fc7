"""beit-mm chain: what it sees, what it chooses, and configs that say just what it means."""

import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import checkpoints_of_models as models
import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from PIL import Image

from beit_mm.apis.run_verb import verb_of
from beit_mm.cli import chain, inference, stages
from beit_mm.cli.config_loading import load_config
from beit_mm.cli.hardware import Hardware
from beit_mm.cli.own_folder import run
from beit_mm.cli.own_folder.config_file import differences, render
from beit_mm.cli.own_folder.configs import LEAVES, ChainConfigs, Labels
from beit_mm.cli.own_folder.plan import Plan, choose
from beit_mm.cli.own_folder.run import START_SECONDS, divide_time, stage_names, write_configs
from beit_mm.cli.own_folder.survey import Survey, contact_sheet, look_at
from beit_mm.cli.own_folder.tasks import find_size, read_labels, read_masks, weigh_classes
from beit_mm.cli.own_folder.weights import architecture_of
from beit_mm.contracts import UserError
from beit_mm.contracts.config_walk import DATALOADERS
from beit_mm.datasets import LabelledImageFolder
from beit_mm.models import BEiTEncoder
from beit_mm.preflight.config import check_config
from beit_mm.registry import DATASETS, MODELS, TRANSFORMS

pytestmark = pytest.mark.slow

SEEN = Survey([f'{n}.png' for n in range(500)], sizes=[(40, 60)] * 9, low=0.0, high=255.0)
SEEN.channels[3] = SEEN.dtypes['uint8'] = 9
BANDS = Survey([f'{n}.tif' for n in range(90)], sizes=[(80, 80)], low=0.0, high=4095.0)
BANDS.channels[5] = BANDS.dtypes['uint16'] = 1
BANDS.mean, BANDS.std = [100.0, 200.0, 300.0, 400.0, 500.0], [10.0, 20.0, 30.0, 40.0, 50.0]
SCANS = Survey([f'{n}.npy' for n in range(90)], sizes=[(80, 80)], low=-1000.0, high=2000.0)
SCANS.channels[1] = SCANS.dtypes['int16'] = 1
SCANS.mean, SCANS.std = [-300.0], [500.0]


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / 'images'
    for name in (*(f'a/{n}' for n in range(5)), *(f'b/{n}' for n in range(5, 10))):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f'{name}.png'), rng.integers(0, 256, (40, 48, 3), np.uint8))
    return folder


def find(images):
    return sorted(images.rglob('*.png'))


def test_survey__of_good_broken_and_equal_images(images):
    (images / 'c.png').write_bytes((images / 'a/0.png').read_bytes())
    (images / 'd.jpg').write_bytes(b'no image')
    survey = look_at(str(images))
    assert (len(survey.paths), len(survey.sizes), survey.duplicates) == (12, 11, 1)
    assert [path.endswith('d.jpg') for path in survey.broken] == [True]
    assert survey.is_8_bit and set(survey.sizes) == {(40, 48)}
    values = [cv2.imread(path)[..., ::-1] for path in survey.paths if path not in survey.broken]
    assert np.allclose(survey.mean, np.mean(values, (0, 1, 2)))
    assert np.allclose(survey.std, np.std(values, (0, 1, 2)))
    assert contact_sheet(survey).dtype == np.uint8
    assert any('d.jpg' in value for _, value in survey.table())
    assert not survey.others
    (images / 'e.HEIC').touch()
    rows = look_at(str(images)).table()
    assert [text for name, text in rows if name == 'left out' and '1 .heic files' in text]
    np.save(images / 'e.npy', np.zeros((8, 8, 5), np.float32))
    counts = r'different numbers of channels \(3 \(11\), 5 \(1\)\), .*/a/0.png, .*/e.npy for'
    with pytest.raises(UserError, match=counts):
        look_at(str(images))


def test_survey__of_images_with_and_without_transparency_is_8_bit(images):
    image = Image.fromarray(np.zeros((40, 48), np.uint8)).convert('LA')
    image.save(images / 'gray_and_clear.png')
    survey = look_at(str(images))
    assert set(survey.channels) == {2, 3} and survey.is_8_bit and survey.loaded_channels == 3


def test_survey__of_arrays_says_nothing_of_files_that_are_left_out(tmp_path):
    for number in range(10):
        np.save(tmp_path / f'{number}.npy', np.zeros((8, 8, 5), np.float32))
    (tmp_path / 'a.dcm').touch()
    ((_, words),) = [row for row in look_at(str(tmp_path)).table() if row[0] == 'left out']
    assert '.dcm' in words and '.npy' not in words


@pytest.mark.parametrize('nodata', [math.nan, -9999.0])
def test_survey__of_missing_pixels_that_the_user_names(tmp_path, nodata):
    rng = np.random.default_rng(0)
    for number in range(18):
        image = rng.random((8, 8, 1)).astype(np.float32)
        if number >= 10:
            image[2, 3] = nodata
        np.save(tmp_path / f'{number}.npy', image)
    survey = look_at(str(tmp_path), nodata)
    assert not survey.broken and 0 < survey.low < survey.high < 1
    configs = ChainConfigs(tmp_path / 'out', str(tmp_path), survey, choose(survey), seed=0)
    path = configs.write('tokenizer', configs.make('tokenizer', None))
    load = load_config(path).train_dataloader.dataset.pipeline[0]
    image = TRANSFORMS.build(load).transform(dict(img_path=str(tmp_path / '12.npy')))['img']
    assert image[2, 3] == 0.0
    if math.isnan(nodata):
        rows = [words for name, words in look_at(str(tmp_path)).table() if name == 'cannot be read']
        assert len(rows) == 6 and '--nodata nan' in rows[0] and rows[-1].startswith('3 more')


def test_survey__of_8_bit_tiffs_with_gaps_keeps_what_their_tag_says(tmp_path):
    for n in range(10):
        image = np.random.default_rng(n).integers(100, 200, (40, 48), np.uint8)
        image[:5] = 0
        tifffile.imwrite(tmp_path / f'{n}.tif', image, extratags=[(42113, 's', 0, '0', True)])
    survey = look_at(str(tmp_path))
    assert not survey.is_8_bit and survey.low >= 100


@pytest.mark.parametrize(
    ('low', 'high', 'window'),
    [(290.0, 310.0, (288.0, 312.0)), (0.0, 20.0, None), (5.0, 20.0, None), (-5.0, 20.0, (-5, 20))],
)
def test_values__far_from_0_are_counted_from_their_lower_end(tmp_path, low, high, window):
    survey = Survey([f'{n}.npy' for n in range(9)], sizes=[(80, 80)] * 9, low=low, high=high)
    survey.channels[1] = survey.dtypes['float32'] = 1
    survey.mean, survey.std = [(low + high) / 2], [1.0]
    configs = ChainConfigs(tmp_path, 'images', survey, choose(survey), seed=0)
    config = configs.make('tokenizer', None)
    load = config.train_dataloader.dataset.pipeline[0]
    assert load['dtype'] == 'float32' and load.get('window') == window
    assert config.data_preprocessor.std == [window[1] - window[0] if window else high]


@pytest.mark.parametrize('sides', [(150, 100), (64, 48), (400, 700)])
@pytest.mark.parametrize('turn', [1, 6])
def test_contact_sheet__has_whole_images_upright(tmp_path, sides, turn):
    """The lower half of each image is white; EXIF 6 turns it to the left half."""
    image = np.zeros((*sides, 3), np.uint8)
    image[sides[0] // 2 :] = 255
    exif = Image.Exif()
    exif[0x0112] = turn
    for number in range(10):
        Image.fromarray(image).save(tmp_path / f'{number}.jpg', exif=exif)
    sheet = contact_sheet(look_at(str(tmp_path)))
    height, width = (round(side * min(112 / max(sides), 1)) for side in sides)
    gap = 4
    if turn == 1:
        upper, lower = sheet[gap + height // 4, gap : gap + width], sheet[gap + height * 3 // 4]
        assert upper.max() < 20 and lower[gap : gap + width].min() > 235
    else:
        tile = sheet[gap : gap + width, gap : gap + height]
        assert tile[:, : height // 3].min() > 235 and tile[:, -height // 3 :].max() < 20


@pytest.mark.parametrize('nodata', [0, 9999, 65535])
def test_survey__leaves_out_what_has_no_data(tmp_path, nodata):
    rng, values = np.random.default_rng(0), []
    for n in range(12):
        image = rng.integers(1000, 3000, (20, 24, 2)).astype(np.uint16)
        values.append(image[5:])
        image[:5] = nodata
        image[5:, :, 1] += 500
        extra = [(42113, 's', 0, str(nodata), True)]  # GDAL_NODATA
        tifffile.imwrite(tmp_path / f'{n}.tif', image, planarconfig='contig', extratags=extra)
    blank = np.full((20, 24, 2), nodata, np.uint16)
    tifffile.imwrite(tmp_path / 'blank.tif', blank, planarconfig='contig', extratags=extra)
    survey = look_at(str(tmp_path))
    assert [path.endswith('blank.tif') for path in survey.broken] == [True]
    values = np.concatenate(values).reshape(-1, 2)
    assert (survey.low, survey.high) == (values.min(), values.max())
    assert np.allclose(survey.mean, values.mean(0)) and np.allclose(survey.std, values.std(0))


def test_survey__of_images_of_two_types(images):
    cv2.imwrite(str(images / 'deep.png'), np.full((40, 48, 3), 4000, np.uint16))
    counts = r'types \(uint8 \(10\), uint16 \(1\)\), .*/a/0.png, .*/deep.png for'
    with pytest.raises(UserError, match=counts):
        look_at(str(images))


@pytest.mark.parametrize(
    ('images', 'size', 'vocabulary'), [(500, 32, 64), (5000, 32, 256), (10**6, 64, 8192)]
)
def test_choice__vocabulary_by_the_rule(images, size, vocabulary):
    survey = Survey(['x'] * images, sizes=[(size, size)])
    plan = choose(survey, size)
    assert plan.vocab_size == vocabulary and plan.token_size == plan.grid * 8


def test_choice__of_sizes(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert choose(SEEN).size == 32  # 40 pixels hold 2 x 16
    assert choose(Survey(['x'], sizes=[(500, 375)])).size == 64
    assert choose(SEEN, 128).family == 'small'
    with pytest.raises(UserError, match='--size 100: expected a multiple of 16.* take 96 or 112'):
        choose(SEEN, 100)


def test_time__is_divided_and_no_stage_is_left_out():
    steps = dict(tokenizer=0.1, pretrain=0.2, cls_beit=0.1, cls_scratch=0.1)
    most = dict.fromkeys(steps, 10_000)
    lengths = divide_time(1048, steps, most)
    assert lengths == dict(tokenizer=1428, pretrain=2857, cls_beit=1428, cls_scratch=1428)
    assert divide_time(1, steps, most) == dict.fromkeys(steps, 20)


def test_time__that_the_others_do_not_need_goes_to_the_pretraining():
    steps = dict(tokenizer=0.1, pretrain=0.2, cls_beit=0.1, cls_scratch=0.1)
    most = dict.fromkeys(steps, 1000)
    lengths = divide_time(36_000, steps, most)
    assert {**lengths, 'pretrain': 1000} == most
    spent = sum(lengths[name] * steps[name] + START_SECONDS for name in steps)
    assert spent == pytest.approx(36_000, abs=0.2)


def test_time__to_go_is_right_where_stages_take_what_was_expected(tmp_path, monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(stages.time, 'time', lambda: now[0])
    monkeypatch.setattr(stages, 'choose_hardware', lambda path: Hardware(1, False))
    monkeypatch.setattr(run, 'load_config', lambda path: Config(dict(model={})))
    seconds = dict(tokenizer=13.0, pretrain=30.0, cls_beit=14.0, cls_scratch=17.0)
    left = iter(seconds.values())

    def train(*_):
        now[0] += next(left)

    monkeypatch.setattr(stages, 'follow', train)
    run.run_stages(tmp_path, {name: tmp_path / name for name in seconds}, seconds)
    shown = re.findall(r'elapsed (\d+) s, about (\d+) s to go', capsys.readouterr().out)
    assert shown == [('0', '74'), ('13', '61'), ('43', '31'), ('57', '17')]


def test_stages__that_begin_with_a_new_checkpoint_are_done_again(tmp_path, monkeypatch, capsys):
    def train(command, *_):
        folder = tmp_path / Path(command[-1]).stem
        folder.mkdir(exist_ok=True)
        torch.save(dict(weight=torch.full((3,), len(trained))), folder / 'iter_9.pth')
        (folder / 'last_checkpoint').write_text('iter_9.pth')
        trained.append(folder.name)

    def load(path):
        start = dict(pretrain='tokenizer', cls_beit='pretrain').get(path.stem)
        init = start and dict(type='Pretrained', checkpoint=str(tmp_path / start))
        part = 'tokenizer' if path.stem == 'pretrain' else 'backbone'
        text = changed if path.stem == 'tokenizer' else ''
        return Config(dict(model={part: dict(init_cfg=init)}, work_dir=text))

    monkeypatch.setattr(stages, 'choose_hardware', lambda path: Hardware(1, False))
    monkeypatch.setattr(stages, 'follow', train)
    monkeypatch.setattr(run, 'load_config', load)
    names = ['tokenizer', 'pretrain', 'cls_beit', 'cls_scratch']
    seconds = dict.fromkeys(names, 1.0)
    paths = {name: tmp_path / f'{name}.py' for name in names}
    changed, trained = '', []
    run.run_stages(tmp_path, paths, seconds)
    run.run_stages(tmp_path, paths, seconds)
    assert trained == names
    changed = 'other'
    run.run_stages(tmp_path, paths, seconds)
    assert trained[4:] == names[:3]
    torch.save(dict(weight=torch.zeros(3)), tmp_path / 'cls_scratch/iter_9.pth')  # trained alone
    run.run_stages(tmp_path, paths, seconds)
    assert trained[7:] == ['cls_scratch']


PLANS = {
    '32': (SEEN, dict(family='micro', size=32)),
    '64': (SEEN, dict(family='micro', size=64)),
    '128': (SEEN, dict(family='small', size=128)),
    'bands': (BANDS, dict(family='micro', size=32)),
    'scans': (SCANS, dict(family='micro', size=64)),
    'init': (
        SEEN,
        dict(
            family='small',
            size=224,
            init='weights.pth',
            backbone=dict(arch=dict(embed_dims=64, num_layers=2, num_heads=1), rel_pos=None),
        ),
    ),
}


@pytest.mark.parametrize('name', PLANS)
def test_configs__are_children_that_say_what_is_meant(tmp_path, name):
    survey, options = PLANS[name]
    plan = Plan(**{**dict(vocab_size=128, batch=16, backbone={}), **options})
    configs = ChainConfigs(tmp_path, 'images', survey, plan, seed=3)
    labels = Labels(dict(data_root='images', labels='x.csv'), ['cat', 'dog', 'cow'], 60, Counter())
    masks = Labels(
        dict(data_root='images', mask_root='m', classes=['a', 'b']), ['a', 'b'], 60, Counter()
    )
    names = stage_names(labels, masks)
    tasks = dict(cls=labels, seg=masks)
    made = {stage: configs.make(stage, tasks.get(stage.partition('_')[0])) for stage in names}
    paths = write_configs(configs, made, dict.fromkeys(names, 50))
    assert len(paths) == 6
    for stage, path in paths.items():
        text = path.read_text()
        long = [line for line in text.splitlines() if len(line) > 100 and '/' not in line]
        assert long == []  # but for paths
        assert len(text.splitlines()) < (60 if name == '64' else 95)
        assert f"_base_ = 'beit_mm::{LEAVES[plan.family][stage.partition('_')[0]]}'" in text
        found, meant = load_config(path).to_dict(), made[stage].to_dict()
        variables = ('train_pipeline', 'val_pipeline', 'tta_pipeline')
        for key in variables:  # of which the base has made its data sets
            found.pop(key, None), meant.pop(key, None)
        # JSON has no tuples: to MMEngine they are lists too
        assert json.dumps(found, sort_keys=True) == json.dumps(meant, sort_keys=True)
        told = [*check_config(load_config(path))]
        ours = ('pipeline', 'auto_scale_lr', 'data_preprocessor', 'optim_wrapper')
        wrong = [f for f in told if f.level == 'error' or any(key in f.place for key in ours)]
        assert [*map(str, wrong)] == []
        if 'test_pipeline' in found:
            assert found['test_pipeline'] == found['test_dataloader']['dataset']['pipeline']
        assert found['work_dir'] == str(tmp_path / stage) and found['randomness']['seed'] == 3
        assert found['train_cfg']['max_iters'] == 50
        parts = {loader: found[loader]['dataset'] for loader in DATALOADERS}
        parts = {loader: data.get('dataset', data)['part'] for loader, data in parts.items()}
        assert [*parts.values()] == ['train', 'val', 'val'] and found['val_evaluator']
        if stage in ('tokenizer', 'pretrain'):
            assert 'mmpretrain' not in str(found)  # an extra, which these do not need
        scratch = stage.endswith('scratch')
        backbone = found['model'].get('backbone', {})
        assert bool(backbone.get('init_cfg')) == (
            stage.endswith('_beit') or (stage == 'pretrain' and name == 'init')
        ), scratch


def test_configs__of_signed_values_give_the_model_what_begins_at_0(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'scans').mkdir()
    for n in range(20):
        scan = rng.integers(-1000, 2000, (70, 64)).astype(np.int16)
        scan[0, :2] = -1000, 1999
        np.save(tmp_path / f'scans/{n}.npy', scan)
    survey = look_at(str(tmp_path / 'scans'))
    configs = ChainConfigs(tmp_path, str(tmp_path / 'scans'), survey, choose(survey), seed=0)
    for stage in ('tokenizer', 'pretrain'):
        config = configs.make(stage, None)
        init_default_scope('beit_mm')
        sample = DATASETS.build(config.train_dataloader.dataset)[0]
        batch = MODELS.build(config.data_preprocessor)(default_collate([sample]), training=True)
        values = batch['token_inputs'] if stage == 'pretrain' else batch['inputs']
        assert 0 <= values.min() < 0.1 and 0.9 < values.max() <= 1
        if stage == 'pretrain':
            assert abs(batch['inputs'].mean()) < 0.1 and 0.3 < batch['inputs'].std() < 1.1


def test_render__is_read_as_the_value():
    values = [
        dict(a=1, b=dict(type='x', c=[1.5, None, True, 'q"\'']), d=()),
        {'model.temperature': dict(type='y'), 'z': [dict(k=list(range(40)))]},
        [dict(type='A' * 60, long='B' * 60)],
        dict(classes=[f'traffic  light-{n}, "of" it\xa0' for n in range(20)]),
    ]
    for value in values:
        text = render(value, 0)
        assert json.dumps(eval(text)) == json.dumps(value)
        assert all(len(line) <= 100 for line in text.splitlines())
        assert len(text.splitlines()) < 15


def test_differences__merge_back(tmp_path):
    base = dict(a=dict(type='x', b=1, c=dict(d=2)), e=[1, 2], f=3)
    for new in (
        dict(a=dict(type='x', b=5, c=dict(d=2)), e=[1], f=3),
        dict(a=dict(type='y', z=1), e=[1, 2], f=3),
        dict(a=dict(type='x', b=1), e=[1, 2], f=None),
        base,
    ):
        (tmp_path / 'base.py').write_text(''.join(f'{k} = {v!r}\n' for k, v in base.items()))
        found = differences(base, new)
        lines = ["_base_ = './base.py'", *(f'{k} = {render(v, 0)}' for k, v in found.items())]
        (tmp_path / 'child.py').write_text('\n'.join(lines))
        assert Config.fromfile(tmp_path / 'child.py').to_dict() == new


def test_chain__of_few_images_or_into_the_images(images, tmp_path):
    with pytest.raises(UserError, match='lies inside of the images'):
        chain.main([str(images), '--out', str(images / 'out')])
    with pytest.raises(UserError, match='--masks .*/a lies inside of the images'):
        chain.main([str(images), '--masks', str(images / 'a'), '--out', str(tmp_path / 'out')])
    (images / 'a/0.png').unlink()
    with pytest.raises(UserError, match='has 9 images that can be read; .* need 10'):
        chain.main([str(images), '--out', str(tmp_path / 'out')])


def test_chain__plans_once_and_goes_on_with_it(images, tmp_path, monkeypatch, capsys):
    masks = tmp_path / 'masks'
    mask = np.zeros((40, 48), np.uint8)
    mask[:9], mask[20:24] = 2, 255
    write_masks(masks, images, mask)
    monkeypatch.setattr(chain, 'measure', lambda path, hardware: 0.5)
    monkeypatch.setattr(chain, 'choose_hardware', lambda path: Hardware(2, True))
    out = tmp_path / 'out'
    arguments = [str(images), '--labels', str(images), '--masks', str(masks), '--out', str(out)]
    chain.main([*arguments, '--plan'])
    first = {path.name: path.read_text() for path in (out / 'configs').iterdir()}
    assert (
        len([name for name in first if name.endswith('.py')]) == 6
        and (out / 'images.png').is_file()
    )
    seconds = json.loads((out / chain.CHAIN).read_text())['seconds']
    for name, value in seconds.items():
        steps = Config.fromfile(out / 'configs' / f'{name}.py').train_cfg.max_iters
        assert value == steps * 0.5 + START_SECONDS
    told = capsys.readouterr().out
    assert re.search(r'Labels\n +images +10\n +classes +2: a \(5\), b \(5\)', told)
    parts, classes = '10, 8 for training, 2 for validation', r'3: 0 \(10\), 1 \(0\), 2 \(10\)'
    assert re.search(rf'Masks\n +images +{parts}\n +classes +{classes}\n +warning', told)
    total = re.search(r'all +about (.*)', told)[1]
    assert total == '10.0 minutes'
    assert all("dtype='bfloat16'" in text for name, text in first.items() if name[-3:] == '.py')
    assert "classes=['0', '1', '2']" in first['seg_beit.py']
    probe = Config.fromfile(out / 'configs' / 'pretrain.py').default_hooks.probe
    assert probe.dataset.type == 'LabelledImageFolder' and probe.dataset.data_root == str(images)
    assert 'class_weight=[0.82, 1.0, 1.4]' in first['seg_beit.py']
    assert 'num_classes=3' in first['seg_beit.py'] and 'num_classes=2' not in first['cls_beit.py']
    monkeypatch.setattr(chain, 'measure', lambda path, hardware: 9.0)
    chain.main([*arguments, '--plan'])
    assert first == {path.name: path.read_text() for path in (out / 'configs').iterdir()}
    with pytest.raises(UserError, match='has a chain with another size'):
        chain.main([*arguments, '--plan', '--size', '32'])
    with pytest.raises(UserError, match='masks have the classes .0, 2., and 2 have names'):
        chain.main([*arguments[:-1], str(tmp_path / 'new'), '--plan', '--classes', 'a', 'b'])


def test_chain__goes_on_with_what_was_meant_and_not_with_other_images_or_labels(
    images, tmp_path, monkeypatch
):
    monkeypatch.setattr(chain, 'measure', lambda path, hardware: 0.5)
    monkeypatch.setattr(chain, 'choose_hardware', lambda path: Hardware(2, False))
    table = tmp_path / 'labels.csv'
    lines = [f'{path.relative_to(images)},{path.parent.name}' for path in images.rglob('*.png')]
    table.write_text('\n'.join(lines))
    out = str(tmp_path / 'out')
    chain.main([str(images), '--labels', str(table), '--out', out, '--plan'])
    monkeypatch.chdir(tmp_path)
    words = ['images', '--labels', './labels.csv', '--out', 'out', '--plan']
    chain.main(words)
    table.write_text('\n'.join(lines[1:]))
    with pytest.raises(UserError, match='another content of labels; call it as before'):
        chain.main(words)
    table.write_text('\n'.join(lines))
    other = tmp_path / 'other'
    other.mkdir()
    shutil.copytree(images, other / 'images')
    monkeypatch.chdir(other)
    with pytest.raises(UserError, match='another images; call it as before'):
        chain.main(['images', '--labels', str(table), '--out', out, '--plan'])


@pytest.mark.parametrize(
    'numbers', ['0 1', '2019 2020', '1 2', '0 7', '9 10', '01 02', '1.0 2.0'], ids=str
)
def test_labels__that_are_numbers_have_a_class_each_and_no_more(images, tmp_path, numbers):
    numbers = numbers.split()
    lines = [f'{p.relative_to(images)},{numbers[p.parent.name == "b"]}\n' for p in find(images)]
    (tmp_path / 'x.csv').write_text(''.join(lines))
    labels = read_labels(str(images), str(tmp_path / 'x.csv'), SEEN)
    assert [*map(float, labels.classes)] == [*map(float, numbers)] and labels.count == 10
    dataset = LabelledImageFolder(**labels.dataset)
    for info in map(dataset.get_data_info, range(10)):
        assert info['gt_label'] == (Path(info['img_path']).parent.name == 'b')


def test_labels__of_one_image_a_class(images, tmp_path):
    (tmp_path / 'x.csv').write_text('a/0.png,cat\nb/5.png,dog\n')
    with pytest.raises(UserError, match='each of 2 classes has one alone'):
        read_labels(str(images), str(tmp_path / 'x.csv'), SEEN)


@pytest.mark.parametrize(
    'names, told',
    [(('train', 'val'), ['names of parts']), (('cat', 'dog'), []), (('cat', 'Val'), [])],
)
def test_labels__that_are_parts_of_the_data_are_told(names, told):
    rows = Labels({}, [*names], 10, Counter({0: 5, 1: 5})).table()
    assert ('classes', f'2: {names[0]} (5), {names[1]} (5)') in rows
    warnings = [text for name, text in rows if name == 'warning']
    assert len(warnings) == len(told) and all(map(str.__contains__, warnings, told))


def test_options_of_masks__without_masks(images, tmp_path):
    for option in ('--mask-suffix=_m', '--classes=a'):
        with pytest.raises(UserError, match='is about masks; name them with --masks'):
            chain.main([str(images), option, '--out', str(tmp_path / 'out')])


def test_masks__with_another_suffix(images, tmp_path):
    write_masks(tmp_path / 'masks', images, np.eye(40, 48, dtype=np.uint8))
    for path in find(tmp_path / 'masks'):
        path.rename(path.with_name(f'{path.stem}_mask.png'))
    with pytest.raises(UserError, match=r'there is a/0_mask.png, for example\). Add or rename'):
        read_masks(str(images), str(tmp_path / 'masks'), SEEN)
    assert read_masks(str(images), str(tmp_path / 'masks'), SEEN, suffix='_mask').count == 10


@pytest.mark.parametrize('kind', ['npy', 'tif'])
def test_survey__reads_all_bands_of_arrays_and_tiffs(tmp_path, kind):
    """MMEngine's loader reads no arrays, and a band of these TIFFs alone."""
    image = np.random.default_rng(0).integers(0, 99, (40, 48, 4), dtype=np.uint8)
    for number in range(10):
        path = tmp_path / f'{number}.{kind}'
        if kind == 'npy':
            np.save(path, image)
        else:
            tifffile.imwrite(path, image, photometric='minisblack', planarconfig='contig')
    survey = look_at(str(tmp_path))
    assert not survey.is_8_bit and survey.loaded_channels == 4


def test_masks__rare_classes_weigh_more(images, tmp_path):
    """A twentieth of the pixels is of class 1, and none of class 2."""
    mask = np.zeros((40, 48), np.uint8)
    mask[:2] = 1
    mask[-1] = 255  # ignored
    write_masks(tmp_path / 'masks', images, mask)
    found = read_masks(str(images), str(tmp_path / 'masks'), SEEN, ['most', 'rare', 'none'])
    most, rare, none = found.weights
    assert rare / most == pytest.approx((37 / 2) ** 0.5, rel=0.05) and none == 1.0


@pytest.mark.parametrize('names', ['{}', ' {}'])
def test_masks__of_a_rare_class_are_in_both_parts(tmp_path, names):
    """Two of 40 images have it; names with spaces at their ends cannot be in a list."""
    images, masks = tmp_path / 'images', tmp_path / 'masks'
    images.mkdir()
    masks.mkdir()
    for number in range(40):
        mask = np.zeros((40, 48), np.uint8)
        mask[:5] = number in (11, 30)
        for folder, content in ((images, np.full((40, 48, 3), number, np.uint8)), (masks, mask)):
            cv2.imwrite(str(folder / f'{names.format(number)}.png'), content)
    survey = look_at(str(images))
    labels = read_masks(str(images), str(masks), survey)
    configs = ChainConfigs(tmp_path / 'out', str(images), survey, choose(survey), seed=0)
    config = load_config(configs.write('seg_beit', configs.make('seg_beit', labels)))
    parts = []
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = DATASETS.build(dict(config[loader].dataset, pipeline=[]))
        infos = [dataset.get_data_info(n) for n in range(len(dataset))]
        parts.append({Path(info['img_path']).stem.strip() for info in infos})
    assert len(parts[0]) + len(parts[1]) == len(parts[0] | parts[1]) == 40
    assert 6 <= len(parts[1]) <= 10
    if names == '{}':
        assert [len(part & {'11', '30'}) for part in parts] == [1, 1]


def test_masks__with_a_class_of_its_own_each_are_divided_all_the_same(images, tmp_path):
    write_masks(tmp_path / 'masks', images, np.zeros((40, 48), np.uint8))
    for number, path in enumerate(find(tmp_path / 'masks'), 1):
        mask = np.zeros((40, 48), np.uint8)
        mask[:9] = number
        cv2.imwrite(str(path), mask)
    labels = read_masks(str(images), str(tmp_path / 'masks'), SEEN)
    assert {part: len(names) for part, names in labels.parts.items()} == dict(train=8, val=2)
    assert ('images', '10, 8 for training, 2 for validation') in labels.table()


def test_masks__of_one_class_or_of_few_numbers(images, tmp_path):
    write_masks(tmp_path / 'masks', images, np.full((40, 48), 3, np.uint8))
    with pytest.raises(UserError, match=r'have the classes \[3\].* Two or more'):
        read_masks(str(images), str(tmp_path / 'masks'), SEEN)
    write_masks(tmp_path / 'masks', images, np.eye(40, 48, dtype=np.uint8) * 128)
    told = read_masks(str(images), str(tmp_path / 'masks'), SEEN).table()
    assert ('warning', '2 of these 129 classes occur; number them 0, 1, 2, ...') in told


def test_masks__of_classes_that_one_part_lacks_are_told(images, tmp_path):
    """The first two images are divided by class 1; the third is alone with its rarest class 2."""
    write_masks(tmp_path / 'masks', images, np.zeros((40, 48), np.uint8))
    mask = np.zeros((40, 48), np.uint8)
    for path, (first, second) in zip(
        find(tmp_path / 'masks'), [(1, 2), (1, 3), (2, 3)], strict=False
    ):
        mask[:9], mask[9:20] = first, second
        cv2.imwrite(str(path), mask)
    labels = read_masks(str(images), str(tmp_path / 'masks'), SEEN)
    told = [words for name, words in labels.table() if name == 'warning']
    assert len(told) == 1 and told[0].startswith('no image of the validation has ')


def test_masks__weights_of_classes_are_limited():
    assert weigh_classes([7, 7]) == [1.0, 1.0]
    assert weigh_classes([0, 10**12, 1, 10**6]) == [1.0, 0.1, 10.0, 1.0]


def write_masks(folder, images, mask):
    for path in find(images):
        place = folder / path.parent.name / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place), mask)


def test_labels_and_masks__read_their_folder_once(images, tmp_path, monkeypatch):
    write_masks(tmp_path / 'masks', images, np.eye(40, 48, dtype=np.uint8))
    seen, find_paths = [], LabelledImageFolder.find_paths
    monkeypatch.setattr(
        'beit_mm.datasets.UnlabelledImageFolder.find_paths',
        lambda dataset: seen.append(type(dataset).__name__) or find_paths(dataset),
    )
    assert read_labels(str(images), str(images), SEEN).count == 10
    assert read_masks(str(images), str(tmp_path / 'masks'), SEEN).count == 10
    assert seen == ['LabelledImageFolder', 'SegmentationFolder']


def test_masks__of_another_size_than_their_image(images, tmp_path):
    write_masks(tmp_path / 'masks', images, np.eye(40, 48, dtype=np.uint8))
    assert read_masks(str(images), str(tmp_path / 'masks'), SEEN).classes == ['0', '1']
    cv2.imwrite(str(tmp_path / 'masks/b/7.png'), np.eye(20, 24, dtype=np.uint8))
    with pytest.raises(UserError, match='b/7.png: the mask is 24 x 20 .* the image 48 x 40'):
        read_masks(str(images), str(tmp_path / 'masks'), SEEN)


@pytest.mark.parametrize('suffix', ['jpg', 'npy'])
def test_masks__size_of_an_image_as_it_is_loaded(tmp_path, suffix):
    path = tmp_path / f'a.{suffix}'
    if suffix == 'npy':
        np.save(path, np.zeros((20, 30, 5)))
    else:  # turned by 90 degrees
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new('RGB', (20, 30)).save(path, exif=exif)
        assert cv2.imread(str(path)).shape == (20, 30, 3)
    assert find_size(str(path)) == (20, 30)
    path.write_bytes(b'broken')
    assert find_size(str(path)) is None


@pytest.mark.parametrize('classes', [None, ['back', 'front']])
def test_masks__of_0_and_255(images, tmp_path, classes):
    write_masks(tmp_path / 'masks', images, np.eye(40, 48, dtype=np.uint8) * 255)
    with pytest.raises(UserError, match='If 255 is a class here, save it as 1'):
        read_masks(str(images), str(tmp_path / 'masks'), SEEN, classes)


@pytest.mark.parametrize('is_complete', [True, False])
def test_broken_images__are_left_out_or_skipped(images, tmp_path, is_complete):
    broken = images / 'a/0.png'
    broken.write_bytes(b'broken')
    (images / 'b/10.png').write_bytes((images / 'b/5.png').read_bytes())
    survey = look_at(str(images))
    if not is_complete:  # one that was not opened may be broken, too
        survey.paths.append(str(images / 'c.png'))
    plan = choose(survey)
    configs = ChainConfigs(tmp_path, str(images), survey, plan, seed=0)
    labels = read_labels(str(images), str(images), survey)
    assert labels.count == 10 and labels.images == Counter({0: 4, 1: 6})
    for name in ('tokenizer', 'pretrain', 'cls_beit'):
        config = load_config(
            configs.write(name, configs.make(name, labels if name == 'cls_beit' else None))
        )
        for loader in DATALOADERS:
            is_wrapped = config[loader].dataset.type == 'beit_mm.SkipBadSamples'
            assert is_wrapped == (not is_complete and loader == 'train_dataloader')
            options = config[loader].dataset
            options = options.dataset if is_wrapped else options
            dataset = DATASETS.build(dict(options, pipeline=[]))
            found = {dataset.get_data_info(n)['img_path'] for n in range(len(dataset))}
            assert found and str(broken) not in found and found < {str(p) for p in find(images)}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal__that_reaches_the_chain_alone_is_passed_on(tmp_path, number):
    """As from a batch system; Ctrl-C in a terminal reaches the stage as well."""
    stage = (
        'import signal, sys, time\n'
        'signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))\n'
        'print("ready", flush=True)\n'
        'time.sleep(60)\n'
    )
    script = (
        'import signal, sys\nfrom pathlib import Path\nfrom beit_mm.cli import stages\n'
        'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # in the background, too
        'stages.end_in_words()\n'
        f'stages.follow([sys.executable, "-c", {stage!r}], Path.cwd(), Path("log"), True, {{}})\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', script], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == 'ready\n'
    begin = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=50)
    assert time.monotonic() - begin < 40 and 'saved' in (tmp_path / 'log').read_text()


@pytest.mark.parametrize('where', ['look_at', 'measure'])
def test_sigterm__before_the_first_stage_ends_in_words(images, tmp_path, monkeypatch, where):
    before = signal.getsignal(signal.SIGTERM)

    def stop(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    monkeypatch.setattr(chain, 'choose_hardware', lambda path: Hardware(2, True))
    monkeypatch.setattr(chain, where, stop)
    try:
        with pytest.raises(SystemExit, match='run it again to go on'):
            chain.main([str(images), '--out', str(tmp_path / 'out')])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / 'out' / chain.CHAIN).exists()


def test_usage__each_end_has_a_verb_and_a_format_that_it_writes(tmp_path):
    out = tmp_path / 'my runs'
    both = ['tokenizer', 'pretrain', 'cls_beit', 'cls_scratch', 'seg_beit', 'seg_scratch']
    words = {
        names: [shlex.split(line) for line in chain.usage(out, both[:names])] for names in (2, 4, 6)
    }
    assert [line[1] for line in words[2]] == ['embed']
    assert [line[1] for line in words[6]] == ['classify', 'segment'] and len(words[4]) == 1
    assert words[4][0][2] == str(out / 'cls_beit') and words[2][0][2] == str(out / 'pretrain')
    for line in (*words[2], *words[6]):
        args = inference.parse_args(line[1], line[2:])
        task = dict(embed='pretraining', classify='classification', segment='segmentation')[line[1]]
        verb_of(task, line[1]).result.check_path(args.out)


@pytest.mark.parametrize('prefix', ['backbone.', ''])
@pytest.mark.parametrize('rel_pos, ratio', [('shared', 4), ('per_layer', 8 / 3), (None, 4)])
def test_init__architecture_is_read_from_the_weights(tmp_path, prefix, rel_pos, ratio):
    options = dict(abs_pos=rel_pos is None, qkv_bias=ratio == 4, rel_pos=rel_pos)
    arch = dict(embed_dims=128, num_layers=2, num_heads=4, mlp_ratio=ratio)
    if rel_pos is None:  # the weights do not tell
        (tmp_path / 'config.json').write_text('{"num_attention_heads": 4}')
    encoder = BEiTEncoder(arch=arch, img_size=64, patch_size=16, **options)
    state = {f'{prefix}{name}': tensor for name, tensor in encoder.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'a.pth')
    plan = choose(SEEN, init=str(tmp_path / 'a.pth'))
    assert (plan.family, plan.size, plan.init_prefix) == ('small', 64, prefix)
    assert ('mlp_ratio' in plan.backbone['arch']) == (ratio != 4)
    assert dict(plan.table())['encoder'].startswith('BEiT/16 with 2 layers of 128 channels, as in')
    found = BEiTEncoder(img_size=64, patch_size=16, **(dict(rel_pos='shared') | plan.backbone))
    assert {n: t.shape for n, t in found.state_dict().items()} == {
        n: t.shape for n, t in encoder.state_dict().items()
    }
    (tmp_path / 'config.json').write_text('{}')
    guess = architecture_of(str(tmp_path / 'a.pth'))[0]['arch']['num_heads']
    assert guess == (4 if rel_pos else 2)


def test_init__of_the_encoder_that_a_chain_trains_on_a_cpu(tmp_path):
    arch = dict(embed_dims=128, num_layers=2, num_heads=4)
    encoder = BEiTEncoder(arch=arch, img_size=64, patch_size=8)
    torch.save(encoder.state_dict(), tmp_path / 'a.pth')
    plan = choose(SEEN, init=str(tmp_path / 'a.pth'))
    assert (plan.family, plan.patch, plan.size) == ('micro', 8, 32)
    encoder = BEiTEncoder(arch=arch, img_size=56, patch_size=14)
    torch.save(encoder.state_dict(), tmp_path / 'b.pth')
    with pytest.raises(UserError, match='patches have 14 pixels; .* 8 or 16'):
        choose(SEEN, init=str(tmp_path / 'b.pth'))


def test_init__of_positions_that_are_not_square_needs_their_size(tmp_path):
    encoder = BEiTEncoder(
        arch=dict(embed_dims=32, num_layers=1, num_heads=2), img_size=(32, 64), patch_size=16
    )
    file = tmp_path / 'a.pth'
    torch.save(dict(state_dict=encoder.state_dict()), file)
    with pytest.raises(UserError, match=r'--init .*a.pth: .* --source-img-size H W of beit-mm'):
        architecture_of(str(file))
    said = dict(format=3, backbone=dict(img_size=[32, 64]))
    torch.save(dict(state_dict=encoder.state_dict(), meta=dict(beit_mm=said)), file)
    assert architecture_of(str(file))[0]['arch']['num_layers'] == 1


def save_dalle(path):
    kernel = torch.zeros(8192, 8, 1, 1)
    torch.save({'blocks.output.conv.w': kernel, 'blocks.output.conv.b': kernel[:, 0, 0, 0]}, path)


def save_vqkd(path):
    codes = torch.zeros(64, 32)
    names = ('quantize.embedding.weight', 'encode_task_layer.0.weight')
    torch.save(dict(model=dict.fromkeys(names, codes)), path)


KINDS = dict(
    DVAETokenizer=lambda path: models.saved(models.tokenizer(), path),
    DALLETokenizer=save_dalle,
    VQKDTokenizer=save_vqkd,
)


@pytest.mark.parametrize('kind', KINDS)
def test_tokenizer__that_is_trained_is_taken_and_has_no_stage(images, tmp_path, monkeypatch, kind):
    KINDS[kind](tmp_path / 't.pth')
    monkeypatch.setattr(chain, 'measure', lambda path, hardware: 0.5)
    monkeypatch.setattr(chain, 'choose_hardware', lambda path: Hardware(2, False))
    out = tmp_path / 'out'
    arguments = [str(images), '--tokenizer', str(tmp_path / 't.pth'), '--out', str(out), '--plan']
    chain.main([*arguments, '--size', '32', '--epochs', '2'])
    (path,) = (out / 'configs').glob('*.py')
    config = load_config(path)
    found = config.model.tokenizer
    assert (found.type, found.init_cfg.checkpoint) == (f'beit_mm.{kind}', str(tmp_path / 't.pth'))
    if kind != 'DALLETokenizer':  # 54 million parameters
        stride = MODELS.build(dict(found, init_cfg=None)).stride
        crop = next(t for t in config.train_dataloader.dataset.pipeline if 'token_size' in t)
        assert crop.token_size == 4 * stride
        assert not [f for f in check_config(config) if f.level == 'error']


@pytest.mark.parametrize(
    'window, std, seen, expected',
    [
        (None, 4000.0, (0, 2000), (None, 4000.0)),
        (None, 255.0, (0, 4000), (None, 4000.0)),  # of other values
        (None, 4000.0, (0, 1), (None, 1.0)),
        (None, 4000.0, (-1000, 2000), ((-1000.0, 2000.0), 3000.0)),
        ((-1024.0, 3071.0), 4095.0, (-1000, 2000), ((-1024.0, 3071.0), 4095.0)),
        ((-1024.0, 3071.0), 4095.0, (0, 2000), ((-1024.0, 3071.0), 4095.0)),
    ],
)
def test_tokenizer__sees_values_as_in_its_training(tmp_path, window, std, seen, expected):
    loader = dict(type='LoadMultiBandImage', channels=1)
    loader |= dict(window=window) if window else {}
    model = dict(models.DVAE, in_channels=1)
    models.saved(models.tokenizer(model, loader=loader, std=std, bgr=False), tmp_path / 't.pth')
    survey = Survey(['x.npy'] * 90, sizes=[(80, 80)], low=float(seen[0]), high=float(seen[1]))
    survey.channels[1] = survey.dtypes['float32'] = 1
    survey.mean, survey.std = [300.0], [50.0]
    plan = choose(survey, tokenizer=str(tmp_path / 't.pth'))
    config = ChainConfigs(tmp_path, str(tmp_path), survey, plan, seed=0).make('pretrain', None)
    dataset = config.train_dataloader.dataset
    dataset = dataset.get('dataset', dataset)
    assert dataset.pipeline[0].get('window') == expected[0]
    assert config.data_preprocessor.token_scale == expected[1]
    assert config.data_preprocessor.mean == [300.0 - (expected[0] or (0,))[0]]


@pytest.mark.parametrize(
    'std, high, right', [(255.0, 60000.0, '60000'), (255.0, 4095.0, '4095'), (4095.0, 300.0, '300')]
)
def test_tokenizer__of_other_bits_is_told_without_a_wrong_scale(tmp_path, std, high, right):
    models.saved(models.tokenizer(std=std), tmp_path / 't.pth')
    survey = Survey(['x.png'] * 90, sizes=[(80, 80)], low=0.0, high=high)
    survey.channels[3] = survey.dtypes['uint16'] = 1
    survey.mean, survey.std = [300.0] * 3, [50.0] * 3
    plan = choose(survey, tokenizer=str(tmp_path / 't.pth'))
    configs = ChainConfigs(tmp_path, str(tmp_path), survey, plan, seed=0)
    told = [f for f in check_config(configs.make('pretrain', None)) if 'token_scale' in f.place]
    advice = rf'std=\[{right}.*if the images .* like those.*={std:g}, else to the largest value'
    assert told and all(re.search(advice, f.message) for f in told)


def test_tokenizer__that_does_not_fit_is_refused(tmp_path):
    models.saved(models.classifier(), tmp_path / 'c.pth')
    with pytest.raises(UserError, match='expected a tokenizer of this package.*classification'):
        choose(SEEN, tokenizer=str(tmp_path / 'c.pth'))
    models.saved(models.tokenizer(), tmp_path / 't.pth')
    with pytest.raises(UserError, match='tokens of 3 channels, expected some of 5'):
        choose(BANDS, tokenizer=str(tmp_path / 't.pth'))
