import os
import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import DefaultSampler
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import BadImageError, UnlabelledImageFolder
from beit_mm.registry import DATASETS

pytestmark = pytest.mark.slow

LOAD = dict(type='LoadImageFromFile')


@pytest.fixture
def make_file(tmp_path):
    """Write a file below tmp_path: an image if its ending says so."""

    def write(name, seed=0):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in ('.png', '.jpg', '.webp', '.tif', '.ppm', '.bmp'):
            img = np.random.default_rng(seed).integers(0, 256, (24, 30, 3), dtype=np.uint8)
            path.write_bytes(cv2.imencode(path.suffix.lower(), img)[1].tobytes())
        else:
            path.write_bytes(b'not an image')
        return path

    return write


def names(dataset, root):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert all(set(info) == {'img_path', 'sample_idx'} for info in infos)
    assert [info['sample_idx'] for info in infos] == list(range(len(dataset)))
    return [os.path.relpath(info['img_path'], root) for info in infos]


def test_finds_images_at_any_depth__sorted(tmp_path, make_file):
    expected = ['Z.PNG', 'a/b/c/1.jpg', 'a/b/c/10.jpg', 'a/b/c/2.Webp', 'a/x.tif', 'a.b/y.ppm']
    expected += ['b.bmp', 'name with spaces/ä.png']
    for name in random.Random(0).sample(expected, len(expected)):
        make_file(name)
    for name in ('notes.txt', '.hidden.png', '.hidden/x.png', 'a/.thumbs/x.jpg', 'png', 'a/x.pngx'):
        make_file(name)
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == sorted(expected)
    flat = UnlabelledImageFolder(tmp_path, recursive=False)
    assert names(flat, tmp_path) == ['Z.PNG', 'b.bmp']


def test_order_does_not_depend_on_the_file_system(tmp_path, make_file, monkeypatch):
    for name in ('c.png', 'a/2.png', 'a/1.png', 'b.png'):
        make_file(name)
    before = names(UnlabelledImageFolder(str(tmp_path)), tmp_path)
    scandir = os.scandir

    class Reversed:
        def __init__(self, folder):
            with scandir(folder) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return self.entries

        def __exit__(self, *error):
            pass

    monkeypatch.setattr(os, 'scandir', Reversed)
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == before


def test_links_are_followed_but_not_in_circles(tmp_path, make_file):
    make_file('elsewhere/deep/1.png')
    make_file('data/own.png')
    (tmp_path / 'data/link').symlink_to(tmp_path / 'elsewhere', target_is_directory=True)
    (tmp_path / 'data/one.png').symlink_to(tmp_path / 'elsewhere/deep/1.png')
    (tmp_path / 'data/circle').symlink_to(tmp_path / 'data', target_is_directory=True)
    dataset = UnlabelledImageFolder(str(tmp_path / 'data'))
    assert names(dataset, tmp_path / 'data') == ['link/deep/1.png', 'one.png', 'own.png']


def test_links_that_lead_nowhere__are_left_out_and_reported(tmp_path, make_file, monkeypatch):
    reports = []
    monkeypatch.setattr(
        'beit_mm.datasets.unlabelled_image_folder.print_log', lambda text, **_: reports.append(text)
    )
    make_file('own.png')
    (tmp_path / 'broken.png').symlink_to(tmp_path / 'nothing.png')
    (tmp_path / 'itself.png').symlink_to(tmp_path / 'itself.png')
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == ['own.png']
    assert '2 links lead nowhere' in reports[0] and str(tmp_path) in reports[0]


@pytest.mark.parametrize('extensions', ['png', '.PNG', ['png'], ('.png', 'jpg')])
def test_extensions(tmp_path, make_file, extensions):
    for name in ('a.png', 'b.tif', 'xpng'):
        make_file(name)
    dataset = UnlabelledImageFolder(str(tmp_path), extensions=extensions)
    assert names(dataset, tmp_path) == ['a.png']


def test_counts_are_reported(tmp_path, make_file, monkeypatch):
    for name in ('a.png', 'b.png', 'c.txt', '.d.png'):
        make_file(name)
    reports = []
    monkeypatch.setattr(
        'beit_mm.datasets.unlabelled_image_folder.print_log', lambda text, **_: reports.append(text)
    )
    UnlabelledImageFolder(str(tmp_path))
    assert len(reports) == 1 and '2 images' in reports[0] and '1 other files' in reports[0]


def test_missing_root_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r'data_root=.*no-such-folder'):
        UnlabelledImageFolder(str(tmp_path / 'no-such-folder'))


def test_file_as_root_is_named(make_file):
    with pytest.raises(UserError, match=r'data_root=.*a\.png.*is a file'):
        UnlabelledImageFolder(str(make_file('a.png')))


def test_empty_folder_is_explained(tmp_path, make_file):
    for name in ('a.txt', 'b/c.csv', '.hidden.png'):
        make_file(name)
    with pytest.raises(UserError, match=r'2 files seen.*\.jpg.*\.png') as error:
        UnlabelledImageFolder(str(tmp_path))
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize('config', [dict(extensions=()), dict(indices=0), dict(indices=[])])
def test_settings_that_select_nothing_are_named(tmp_path, make_file, config):
    make_file('a.png')
    with pytest.raises(UserError, match=next(iter(config))):
        UnlabelledImageFolder(str(tmp_path), **config)


@pytest.mark.parametrize(
    'indices, expected',
    [(2, ['a.png', 'b.png']), (-1, ['d.png']), ([3, 0], ['d.png', 'a.png'])],
)
def test_indices(tmp_path, make_file, indices, expected):
    for name in ('a.png', 'b.png', 'c.png', 'd.png'):
        make_file(name)
    assert names(UnlabelledImageFolder(str(tmp_path), indices=indices), tmp_path) == expected


def test_file_list__names_order_and_place(tmp_path, make_file):
    for name in ('a.png', 'b/c d.png', 'e.odd', 'z.png'):
        make_file(name)
    text = 'z.png\r\n\nb/c d.png\n  e.odd \n'
    (tmp_path / 'lists').mkdir()
    (tmp_path / 'lists/few.txt').write_text(text)
    for file_list in ('lists/few.txt', str(tmp_path / 'lists/few.txt')):
        dataset = UnlabelledImageFolder(str(tmp_path), file_list=file_list)
        assert names(dataset, tmp_path) == ['z.png', 'b/c d.png', 'e.odd']


def test_exclude__leaves_out_in_every_part(tmp_path, make_file):
    for name in ('a.png', 'b/a.png', 'b/c.png', 'd.png'):
        make_file(name)
    options = dict(data_root=str(tmp_path), exclude=['b/a.png'], val_share=0.4)
    parts = [
        names(UnlabelledImageFolder(part=part, **options), tmp_path)
        for part in (None, 'train', 'val')
    ]
    assert parts[0] == sorted(parts[1] + parts[2]) == ['a.png', 'b/c.png', 'd.png']


def test_file_list__mistakes_are_named(tmp_path, make_file):
    make_file('a.png')
    with pytest.raises(MissingFileError, match=r'file_list=.*few\.txt'):
        UnlabelledImageFolder(str(tmp_path), file_list='few.txt')
    (tmp_path / 'few.txt').write_text('a.png\n\na.png 3\n')
    with pytest.raises(MissingFileError, match=r"line 3.*'a\.png 3'.*without a label"):
        UnlabelledImageFolder(str(tmp_path), file_list='few.txt')
    (tmp_path / 'few.txt').write_text('\n')
    with pytest.raises(UserError, match=r'file_list=.*names no image'):
        UnlabelledImageFolder(str(tmp_path), file_list='few.txt')


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('content', [b'', b'<html>not found</html>', b'\xff\xd8\xff\xe0garbage'])
def test_unreadable_image_is_named(tmp_path, make_file, content, test_mode):
    make_file('a.png')
    make_file('b/broken.jpg').write_bytes(content)
    dataset = UnlabelledImageFolder(str(tmp_path), pipeline=[LOAD], test_mode=test_mode)
    assert dataset[0]['img'].shape == (24, 30, 3)
    for _ in range(5):
        with pytest.raises(BadImageError, match=r'b.broken\.jpg.*check_dataset'):
            dataset[1]


def test_unreadable_image_is_named__from_a_worker(tmp_path, make_file):
    make_file('broken.png').write_bytes(b'')
    make_file('good.png')
    batches = iter(DataLoader(UnlabelledImageFolder(str(tmp_path), pipeline=[LOAD]), num_workers=1))
    with pytest.raises(BadImageError, match=r'broken\.png'):
        next(batches)
    assert len(list(batches)) == 1  # the worker is still there, and ends


def test_failing_transform_keeps_its_message(tmp_path, make_file):
    make_file('a.png')
    dataset = UnlabelledImageFolder(str(tmp_path), pipeline=[dict(type='beit_mm.PackMIMInputs')])
    with pytest.raises(BadImageError, match=r"a.png' \(sample 0\): PackMIMInputs: no 'i") as error:
        dataset[0]
    assert type(error.value.__cause__) is UserError
    # A defect of a transform isn't one of the image.
    for transform in (lambda results: results['gone'], lambda results: int('x')):
        dataset = UnlabelledImageFolder(str(tmp_path), pipeline=[LOAD, transform])
        with pytest.raises(RuntimeError, match=r'a\.png.*Error: ') as error:
            dataset[0]
        assert not isinstance(error.value, BadImageError)


def test_none_from_the_pipeline__refused_unless_asked_and_then_reported(
    tmp_path, make_file, monkeypatch
):
    make_file('a.png')
    make_file('b.png').write_bytes(b'')
    skip = [dict(type='LoadImageFromFile', ignore_empty=True)]
    reports = []
    monkeypatch.setattr(
        'beit_mm.datasets.unlabelled_image_folder.print_log', lambda text, **_: reports.append(text)
    )
    with pytest.raises(BadImageError, match=r'b\.png.*max_refetch'):
        UnlabelledImageFolder(str(tmp_path), pipeline=skip)[1]
    with pytest.raises(RuntimeError, match=r'b\.png'):
        UnlabelledImageFolder(str(tmp_path), pipeline=skip, max_refetch=50, test_mode=True)[1]
    np.random.seed(0)
    reports.clear()
    sample = UnlabelledImageFolder(str(tmp_path), pipeline=skip, max_refetch=50)[1]
    assert sample['img_path'].endswith('a.png')
    assert any('b.png' in text and 'skipped' in text for text in reports)


def test_lazy_init_and_pickle(tmp_path, make_file):
    make_file('a.png')
    lazy = UnlabelledImageFolder(str(tmp_path / 'later'), lazy_init=True)
    with pytest.raises(MissingFileError):
        lazy.full_init()
    dataset = pickle.loads(pickle.dumps(UnlabelledImageFolder(str(tmp_path), pipeline=[LOAD])))
    assert dataset[0]['img_path'] == str(tmp_path / 'a.png')


MIM_PIPELINE = [
    LOAD,
    dict(type='RandomFlip', prob=0.5),
    dict(type='TwoViewResizedCrop', size=16, token_size=8),
    dict(type='BlockwiseMask', grid=4, num_masked=6, min_block=2, mode='exactly'),
    dict(type='PackMIMInputs'),
]


def mim_batches(root, seed, workers):
    config = Config(
        dict(
            batch_size=4,
            num_workers=workers,
            dataset=dict(type='UnlabelledImageFolder', data_root=str(root), pipeline=MIM_PIPELINE),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        )
    )
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    with DefaultScope.overwrite_default_scope('beit_mm'):
        loader = Runner.build_dataloader(config, seed=seed)
        assert isinstance(loader.sampler, DefaultSampler)
        return list(loader)


@pytest.mark.parametrize('workers', [0, 2])
def test_mim_batches_from_a_folder(tmp_path, make_file, workers):
    for i in range(6):
        make_file(f'{i % 2}/{i}.png', seed=i)
    batches = mim_batches(tmp_path, seed=0, workers=workers)
    assert [len(batch['inputs']) for batch in batches] == [4, 2]
    assert set(batches[0]) == {'inputs', 'token_inputs', 'mask'}
    assert batches[0]['inputs'].shape == (4, 3, 16, 16)
    assert batches[0]['token_inputs'].shape == (4, 3, 8, 8)
    assert batches[0]['inputs'].dtype == batches[0]['token_inputs'].dtype == torch.uint8
    assert (batches[0]['mask'].sum((1, 2)) == 6).all()
    again = mim_batches(tmp_path, seed=0, workers=workers)
    other = mim_batches(tmp_path, seed=1, workers=workers)
    same = [torch.equal(a[k], b[k]) for a, b in zip(batches, again, strict=True) for k in a]
    assert all(same) and not torch.equal(batches[0]['inputs'], other[0]['inputs'])


def test_registered():
    assert DATASETS.get('UnlabelledImageFolder') is UnlabelledImageFolder


@pytest.mark.parametrize(
    ('loader', 'advised'), [('LoadImageFromFile', True), ('LoadMultiBandImage', False)]
)
def test_five_bands__the_file_may_be_good_and_the_loader_the_wrong_one(tmp_path, loader, advised):
    (tmp_path / 'a.tif').write_bytes(b'bands')
    with DefaultScope.overwrite_default_scope('beit_mm'):
        folder = UnlabelledImageFolder(str(tmp_path), pipeline=[dict(type=loader)])
        with pytest.raises(BadImageError, match='repair or remove the file') as caught:
            folder[0]
    assert ('need LoadMultiBandImage' in str(caught.value)) == advised
