"""Which files are found, and what is said about those that are not."""

import codecs
import os
import unicodedata

import cv2
import numpy as np
import pytest
from mmengine.config import Config

from beit_mm.cli.check_dataset import check_config_data
from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import UnlabelledImageFolder, image_folder
from beit_mm.datasets.image_folder import Walk, find_images, read_lines
from beit_mm.preflight.files.split import read_splits
from beit_mm.preflight.files.split_checks import check_folders


@pytest.fixture
def logged(monkeypatch):
    said = []
    monkeypatch.setattr(
        'beit_mm.datasets.unlabelled_image_folder.print_log', lambda text, **_: said.append(text)
    )
    return said


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes())


def names(dataset, root):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [os.path.relpath(path, root) for path in paths]


def splits(**dataset):
    dataset = dict(type='beit_mm.UnlabelledImageFolder', pipeline=[], **dataset)
    return read_splits(Config(dict(train_dataloader=dict(batch_size=1, dataset=dataset))), 'train')


def test_folders_that_link_to_each_other__each_is_visited_once(tmp_path):
    for name in 'abcdefg':
        touch(tmp_path / name / f'{name}.png')
        for other in 'abcdefg':
            (tmp_path / name / f'to_{other}').symlink_to(tmp_path / other)
    expected = [f'{name}/{name}.png' for name in 'abcdefg']
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == expected
    assert find_images(tmp_path) == [str(tmp_path / name) for name in expected]
    assert not list(check_folders(splits(data_root=str(tmp_path))[0]))


def test_links_that_are_left_out__are_told(tmp_path, logged):
    touch(tmp_path / 'a/1.png')
    (tmp_path / 'c').symlink_to(tmp_path / 'a')
    (tmp_path / 'd.png').symlink_to(tmp_path / 'gone.png')
    told = []
    assert len(find_images(tmp_path, told=told)) == 1
    UnlabelledImageFolder(str(tmp_path))
    reports = [' '.join(told), ' '.join(map(str, logged))]
    for words in reports:
        assert '1 links lead nowhere' in words and 'd.png' in words
        assert '1 links lead to folders that are read already' in words and '/c' in words


def test_link_beside_its_folder__the_folder_keeps_its_path(tmp_path):
    touch(tmp_path / 'z/1.png', tmp_path / 'elsewhere/2.png')
    (tmp_path / 'root').mkdir()
    (tmp_path / 'z').rename(tmp_path / 'root/z')
    (tmp_path / 'root/a').symlink_to(tmp_path / 'root/z')
    (tmp_path / 'root/b').symlink_to(tmp_path / 'elsewhere')
    (tmp_path / 'root/c').symlink_to(tmp_path)  # above the root
    root = tmp_path / 'root'
    assert names(UnlabelledImageFolder(str(root)), root) == ['b/2.png', 'z/1.png']


def test_folder_of_a_chain__is_left_out_unless_it_is_asked_for(tmp_path):
    touch(tmp_path / 'a/1.png', tmp_path / 'out/images.png', tmp_path / 'out/pretrain/vis/2.png')
    (tmp_path / 'out/chain.json').write_text('{}')
    (tmp_path / 'a/others.json').write_text('{}')
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == ['a/1.png']
    assert find_images(tmp_path) == [str(tmp_path / 'a/1.png')]
    assert len(find_images(tmp_path / 'out')) == 2


def test_unreadable_folder__the_scan_goes_on(tmp_path, monkeypatch, logged):
    touch(tmp_path / 'a/1.png', tmp_path / 'locked/2.png', tmp_path / 'z/3.png')
    scandir = os.scandir

    def refuse(folder):  # also for root, who may read everything
        if os.path.basename(folder) == 'locked':
            raise PermissionError(13, 'Permission denied')
        return scandir(folder)

    monkeypatch.setattr(os, 'scandir', refuse)
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == ['a/1.png', 'z/3.png']
    assert any('locked' in text and 'Permission denied' in text for text in logged)
    found = list(check_folders(splits(data_root=str(tmp_path))[0]))
    assert [(f.level, f.kind, f.place) for f in found] == [
        ('error', 'unreadable', str(tmp_path / 'locked'))
    ]
    with pytest.raises(UserError, match='locked'):
        find_images(tmp_path)
    with pytest.raises(PermissionError):
        list(Walk(str(tmp_path / 'locked')))


@pytest.mark.parametrize('ending', ['.heic', '.DCM', '.npy', '.jxl', '.nii', '.cr2', '.mp4'])
def test_images_that_are_not_read__are_a_warning_with_advice(tmp_path, logged, ending):
    touch(tmp_path / 'a.png', tmp_path / f'b{ending}', tmp_path / f'c{ending}')
    dataset = UnlabelledImageFolder(str(tmp_path))
    assert names(dataset, tmp_path) == ['a.png']
    advice = image_folder.OTHER_IMAGES[ending.lower()]
    assert any(f'2 {ending.lower()} files' in text and advice in text for text in logged)
    (finding,) = check_folders(splits(data_root=str(tmp_path))[0])
    assert finding.kind == 'passed-over' and advice in finding.message
    (tmp_path / 'a.png').unlink()
    with pytest.raises(UserError, match='no images') as error:
        UnlabelledImageFolder(str(tmp_path))
    assert advice in str(error.value)


def test_other_files__are_not_called_images(tmp_path, logged):
    touch(tmp_path / 'a.png', tmp_path / 'notes.txt', tmp_path / 'labels.json')
    UnlabelledImageFolder(str(tmp_path))
    assert len(logged) == 1


@pytest.mark.parametrize('ending', ['.avif', '.jp2'])
def test_what_opencv_reads__is_found_and_read(tmp_path, ending):
    path = str(tmp_path / f'a{ending}')
    if not cv2.imwrite(path, np.full((16, 16, 3), 90, np.uint8)):
        pytest.skip('this OpenCV has no encoder for it')
    dataset = UnlabelledImageFolder(str(tmp_path), pipeline=[dict(type='LoadImageFromFile')])
    assert dataset[0]['img'].shape == (16, 16, 3)


def test_several_folders_and_home(tmp_path, monkeypatch):
    touch(tmp_path / 'a/z.png', tmp_path / 'b/c/a.png')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert names(UnlabelledImageFolder(['~/b', '~/a']), tmp_path) == ['b/c/a.png', 'a/z.png']
    assert names(UnlabelledImageFolder('~/a'), tmp_path) == ['a/z.png']
    assert names(UnlabelledImageFolder(['~/a', '~/a']), tmp_path) == ['a/z.png']
    assert find_images('~/a') == [str(tmp_path / 'a/z.png')]
    with pytest.raises(MissingFileError, match='nowhere'):
        UnlabelledImageFolder(['~/a', '~/nowhere'])
    for wrong in (dict(data_root=[]), dict(data_root=['~/a', '~/b'], file_list='x.txt')):
        with pytest.raises(UserError, match='data_root'):
            UnlabelledImageFolder(**wrong)
    split = splits(data_root=['~/b', '~/a'])[0]
    assert split.roots == [str(tmp_path / 'b'), str(tmp_path / 'a')] and len(split.samples) == 2
    assert splits(data_root=[str(tmp_path / 'none')])[0].broken[0].kind == 'no-data'


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
@pytest.mark.parametrize('end', ['\n', '\r\n'])
def test_lists__of_other_editors(tmp_path, encoding, end):
    touch(tmp_path / 'ä.png', tmp_path / 'b c.png')
    mark = {'utf-16-le': codecs.BOM_UTF16_LE, 'utf-16-be': codecs.BOM_UTF16_BE}.get(encoding, b'')
    (tmp_path / 'list.txt').write_bytes(mark + f'ä.png{end}b c.png{end}'.encode(encoding))
    data = UnlabelledImageFolder(str(tmp_path), file_list='list.txt')
    assert names(data, tmp_path) == ['ä.png', 'b c.png']


@pytest.mark.parametrize(
    'line',
    [
        'Käfer/Öl 1.png'.encode('cp1252'),  # a spreadsheet on Windows
        'Käfer\\Öl 1.png'.encode('cp1252'),
        'Käfer\\Öl 1.png'.encode(),
        unicodedata.normalize('NFD', 'Käfer/Öl 1.png').encode(),  # macOS
        unicodedata.normalize('NFD', 'Käfer\\Öl 1.png').encode(),
    ],
)
@pytest.mark.parametrize('disk', ['NFC', 'NFD'])
def test_lists__of_other_systems(tmp_path, line, disk):
    name = unicodedata.normalize(disk, 'Käfer/Öl 1.png')
    touch(tmp_path / name)
    (tmp_path / 'list.txt').write_bytes(line + b'\n')
    assert names(UnlabelledImageFolder(str(tmp_path), file_list='list.txt'), tmp_path) == [name]


def test_names_that_are_not_utf_8(tmp_path):
    name = os.fsdecode(b'caf\xe9.png')
    touch(tmp_path / name)
    assert names(UnlabelledImageFolder(str(tmp_path)), tmp_path) == [name]
    (tmp_path / 'list.txt').write_bytes(b'caf\xe9.png\n')
    assert read_lines(tmp_path / 'list.txt') == [name, '']
    load = dict(type='LoadImageFromFile')
    data = UnlabelledImageFolder(str(tmp_path), [load], file_list='list.txt')
    assert data[0]['img'].shape == (8, 8, 3)
    config = dict(type='beit_mm.UnlabelledImageFolder', data_root=str(tmp_path), pipeline=[load])
    loader = dict(batch_size=1, dataset=config)
    found, sizes = check_config_data(Config(dict(train_dataloader=loader)), ('train',))
    assert [finding.kind for finding in found] == ['constant']
    assert sizes['train_dataloader.dataset'] == dict(samples=1, checked=1)


@pytest.mark.parametrize(
    'name, text',
    [
        ('l.csv', 'a.png,3\nd/b.png,4\n'),
        ('l.csv', 'id,image,label\n1,a.png,cat\n2,d/b.png,dog\n'),
        ('l.csv', '\ufeffimage;label\na.png;cat\n\nd/b.png;dog\n'),
        ('l.csv', 'sep=;\nimage;label\na.png;cat, small\nd/b.png;dog, small\n'),
        ('l.csv', 'label,path\n"cat, small","a.png"\ndog, d/b.png\n'),
        ('l.tsv', 'a.png\tcat\nd/b.png\tdog\n'),
        ('l.csv', 'image,label\n.\\a.png,cat\nd\\b.png,dog\n'),
        ('l.txt', 'a.png\r\nd\\b.png\r\n'),
    ],
)
def test_tables(tmp_path, name, text):
    touch(tmp_path / 'a.png', tmp_path / 'd/b.png')
    (tmp_path / name).write_text(text, encoding='utf-8')
    data = UnlabelledImageFolder(str(tmp_path), file_list=name)
    assert names(data, tmp_path) == ['a.png', 'd/b.png']


def test_tables__mistakes_are_named(tmp_path):
    touch(tmp_path / 'a.png')
    (tmp_path / 'l.csv').write_text('path,label\na.png,1\ngone.png,2\n')
    with pytest.raises(MissingFileError, match=r"l\.csv, line 3: no file 'gone\.png'"):
        UnlabelledImageFolder(str(tmp_path), file_list='l.csv')
    for text in ('', 'path\nx.png\n'):
        (tmp_path / 'l.csv').write_text(text)
        with pytest.raises(UserError, match='no column of image paths'):
            UnlabelledImageFolder(str(tmp_path), file_list='l.csv')


def test_find_images__a_file_and_mistakes(tmp_path):
    touch(tmp_path / 'a.odd')
    assert find_images(tmp_path / 'a.odd') == [str(tmp_path / 'a.odd')]
    with pytest.raises(UserError, match='no images'):
        find_images(tmp_path)
    with pytest.raises(MissingFileError, match='nowhere'):
        find_images(tmp_path / 'nowhere')
