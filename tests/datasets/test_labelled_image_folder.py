import shutil
import unicodedata

import cv2
import numpy as np
import pytest

from beit_mm.contracts import MissingFileError, UserError
from beit_mm.datasets import LabelledImageFolder, label_table, labelled_image_folder

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path):
    """Ten images of each of two classes, in folders."""
    for name in ('cat', 'dog'):
        (tmp_path / name / 'deep').mkdir(parents=True)
        for number in range(10):
            place = tmp_path / name / ('deep' if number % 2 else '.') / f'{number}.png'
            cv2.imwrite(str(place), np.full((4, 4, 3), number, np.uint8))
    return tmp_path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def found(dataset) -> dict[str, int]:
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    start = len(dataset.data_root) + 1
    return {info['img_path'][start:]: info['gt_label'] for info in infos}


def test_class_folders(root):
    dataset = LabelledImageFolder(str(root))
    assert dataset.metainfo['classes'] == ('cat', 'dog')
    assert len(dataset) == 20
    assert all(
        label == ('cat', 'dog').index(n.split('/')[0]) for n, label in found(dataset).items()
    )
    turned = LabelledImageFolder(str(root), classes=['dog', 'cat'])
    assert found(turned) == {name: 1 - label for name, label in found(dataset).items()}


TABLES = {
    'names.csv': 'file,label\ncat/0.png,cat\ndog/0.png,dog\ncat/2.png,cat\n',
    'semicolons.csv': 'cat/0.png;cat\ndog/0.png;dog\ncat/2.png;cat',
    'tabs.tsv': 'path\tlabel\tby\ncat/0.png\tcat\tme\ndog/0.png\tdog\tme\ncat/2.png\tcat\tme\n',
    'bom.csv': '\ufeffimage,class\n"cat/0.png", cat\ndog/0.png,dog\n\ncat/2.png,cat\n',
    'words.txt': 'cat/0.png cat\r\ndog/0.png dog\r\ncat/2.png cat\r\n',
    'windows.csv': 'file,label\r\ncat\\0.png,cat\r\n.\\dog\\0.png,dog\r\ncat\\2.png,cat\r\n',
    'windows.txt': 'cat\\0.png cat\r\ndog\\0.png dog\r\ncat\\2.png cat\r\n',
    'ids.txt': 'cat/0.png 0\ndog/0.png 1\ncat/2.png 0\n',
}


@pytest.mark.parametrize('name', TABLES)
def test_tables__say_the_same(root, name):
    (root / name).write_text(TABLES[name], encoding='utf-8', newline='')
    dataset = LabelledImageFolder(str(root), labels=name)
    assert found(dataset) == {'cat/0.png': 0, 'dog/0.png': 1, 'cat/2.png': 0}
    assert dataset.metainfo['classes'] == (('0', '1') if name == 'ids.txt' else ('cat', 'dog'))


HEADERS = {
    'file,width,label': '{file},640,{label}',
    'label,file': '{label},{file}',
    'id,Filename,split,Class': '7,{file},train,{label}',
    'width,target,image': '640,{label},{file}',
    'file,what': '{file},{label}',
    'what,label': '{file},{label}',
    'id,name': '{file},{label}',
    'label;path;id': '{label};{file};7',
    'File Name,Class Name': '{file},{label}',
    'image-id,split,Class ID': '{file},train,{label}',
    'Dateiname;Klasse': '{file};{label}',
}


@pytest.mark.parametrize('head', HEADERS)
def test_tables__columns_by_their_names(root, head):
    rows = [HEADERS[head].format(file=f'{n}/0.png', label=n) for n in ('cat', 'dog')]
    (root / 'x.csv').write_text('\n'.join([head, *rows]))
    assert found(LabelledImageFolder(str(root), labels='x.csv')) == {'cat/0.png': 0, 'dog/0.png': 1}


@pytest.mark.parametrize('head', ['file,width,breed', 'photo,width,breed'])
def test_tables__without_a_column_that_is_known(root, head):
    (root / 'x.csv').write_text(f'{head}\ncat/0.png,640,cat\ndog/0.png,480,dog\n')
    with pytest.raises(UserError, match="'width', 'breed'] is known to have the labels"):
        LabelledImageFolder(str(root), labels='x.csv')


def test_tables__of_ids_without_an_ending(root):
    (root / 'dog/only.png').write_bytes((root / 'dog/0.png').read_bytes())
    (root / 'x.csv').write_text('id,label\ncat/deep/1,cat\nonly,dog\ndog/0.png,dog\n')
    dataset = LabelledImageFolder(str(root), labels='x.csv')
    assert found(dataset) == {'cat/deep/1.png': 0, 'dog/only.png': 1, 'dog/0.png': 1}
    (root / 'x.csv').write_text('id,label\n1,cat\nonly,dog\n')
    with pytest.raises(MissingFileError, match="'1', .* cat/deep/1.png, dog/deep/1.png may be"):
        LabelledImageFolder(str(root), labels='x.csv')
    for again in ('dog/only.png', 'dog/only'):
        (root / 'x.csv').write_text(f'id,label\nonly,cat\n{again},dog\n')
        with pytest.raises(MissingFileError, match="names 'only'"):
            LabelledImageFolder(str(root), labels='x.csv')


@pytest.mark.parametrize('line', ['Dateiname;Klasse', 'dogg/0;dog'])
def test_tables__of_ids_say_that_their_first_line_may_be_a_header(root, line):
    (root / 'x.csv').write_text(f'{line}\ncat/0;cat\ndog/0;dog\n')
    with pytest.raises(MissingFileError, match="first line .* names of columns, call them 'file'"):
        LabelledImageFolder(str(root), labels='x.csv')


def test_tables__in_utf_16(root):
    (root / 'x.csv').write_text(TABLES['names.csv'], encoding='utf-16')
    assert len(LabelledImageFolder(str(root), labels='x.csv')) == 3


@pytest.mark.parametrize('disk', ['NFC', 'NFD'])
@pytest.mark.parametrize('table', ['NFC', 'NFD', 'cp1252'])
@pytest.mark.parametrize('name', ['Käfer/Öl', 'Käfer/Öl.png', 'Öl'])
def test_tables__find_names_that_the_disk_spells_otherwise(tmp_path, disk, table, name):
    path = unicodedata.normalize(disk, 'Käfer/Öl.png')
    for file in (path, 'b.png'):
        touch(tmp_path / file)
    text = unicodedata.normalize('NFC' if table == 'cp1252' else table, f'{name},grün\nb,b\n')
    (tmp_path / 'x.csv').write_bytes(text.encode('cp1252' if table == 'cp1252' else 'utf-8'))
    dataset = LabelledImageFolder(str(tmp_path), labels='x.csv')
    assert found(dataset) == {path: 1, 'b.png': 0}
    assert dataset.metainfo['classes'] == ('b', unicodedata.normalize('NFC', 'grün'))


def test_tables__with_two_spellings_of_one_image(tmp_path):
    touch(tmp_path / 'Öl.png')
    rows = [f'{unicodedata.normalize(f, "Öl.png")},{c}' for f, c in (('NFC', 'a'), ('NFD', 'b'))]
    (tmp_path / 'x.csv').write_text('\n'.join(rows))
    with pytest.raises(UserError, match="has the labels 'a' and 'b'"):
        LabelledImageFolder(str(tmp_path), labels='x.csv')


def test_labels__of_another_code_page_stay_apart(root):
    rows = b'cat/0.png,\x8d\xc8\ndog/0.png,\x8f\xc8\n'  # Shift-JIS
    (root / 'x.csv').write_bytes(rows)
    assert len(LabelledImageFolder(str(root), labels='x.csv').metainfo['classes']) == 2


def test_tables__of_windows_have_letters_with_accents(root):
    (root / 'x.csv').write_bytes(
        'file;label\ncat/0.png;Kätzchen\ndog/0.png;Hund\n'.encode('cp1252')
    )
    dataset = LabelledImageFolder(str(root), labels='x.csv')
    assert dataset.metainfo['classes'] == ('Hund', 'Kätzchen')


@pytest.mark.parametrize(
    'labels, is_told',
    [(pair, True) for pair in (('0.5', '1.25'), ('0.5', '1.0'), ('+2', '.5'), ('1e-3', '0.5'))]
    + [(pair, False) for pair in (('1.0', '0.0'), ('0.5x', '2x'), ('0.5', 'cat'))],
)
def test_numbers__with_fractions_are_told(root, labels, is_told, monkeypatch):
    told = []
    monkeypatch.setattr(label_table, 'print_log', lambda text, **options: told.append(text))
    rows = zip(('cat/0.png', 'dog/0.png'), labels, strict=True)
    (root / 'x.csv').write_text('\n'.join(['file,label', *(f'{a},{b}' for a, b in rows)]))
    dataset = LabelledImageFolder(str(root), labels='x.csv')
    assert len(dataset.metainfo['classes']) == 2
    assert ['are fractions: each of the 2 different' in text for text in told] == [True] * is_told


def test_numbers__take_the_names_of_classes(root):
    (root / 'ids.txt').write_text('cat/0.png 2\ndog/0.png 0\n')
    dataset = LabelledImageFolder(str(root), labels='ids.txt', classes=['dog', 'cow', 'cat'])
    assert found(dataset) == {'cat/0.png': 2, 'dog/0.png': 0}
    assert dataset.metainfo['classes'] == ('dog', 'cow', 'cat')


def test_parts__are_apart_and_hold_every_class(root):
    parts = {
        part: found(LabelledImageFolder(str(root), part=part, val_share=0.3))
        for part in ('train', 'val', None)
    }
    assert parts['train'] | parts['val'] == parts[None]
    assert not parts['train'].keys() & parts['val'].keys()
    assert sorted(parts['val'].values()) == [0] * 3 + [1] * 3
    for number in (0, 2):  # images that are gone leave the others where they were
        (root / f'cat/{number}.png').unlink()
    fewer = found(LabelledImageFolder(str(root), part='val', val_share=0.3))
    assert len(set(fewer) - set(parts['val'])) <= 2


def test_parts__of_one_image_a_class_leave_none_for_the_validation(root):
    (root / 'x.csv').write_text('cat/0.png,cat\ndog/0.png,dog\n')
    assert len(LabelledImageFolder(str(root), labels='x.csv', part='train')) == 2
    with pytest.raises(UserError, match='each of 2 classes has one alone'):
        LabelledImageFolder(str(root), labels='x.csv', part='val')


@pytest.mark.parametrize('labels', [('cat', 'Cat'), ('Straße', 'STRASSE'), ('cat', 'dog')])
def test_classes_that_differ_in_case_alone__are_told(root, monkeypatch, labels):
    told = []
    monkeypatch.setattr(labelled_image_folder, 'print_log', lambda text, **_: told.append(text))
    (root / 'x.csv').write_text(
        '\n'.join(map(','.join, zip(('cat/0.png', 'dog/0.png'), labels, strict=True)))
    )
    assert len(LabelledImageFolder(str(root), labels='x.csv').metainfo['classes']) == 2
    assert len(told) == (labels != ('cat', 'dog')) and all(repr(labels[0]) in t for t in told)


BAD = {
    'cat/0.png,cat\ncat/0.png,dog\n': "line 2: cat/0.png has the label 'dog', and 'cat'",
    f'cat/0.png,{"a" * 200_000}\n': 'x.csv, line 1: field larger',
    'cat/0.png\n': 'line 1: expected an image and its label',
    'file,label\n': 'has no labels',
    'cat/0.png,cat\nnone.png,dog\n': "names 'none.png', which is not in data_root",
    'cat/0.png,cat\ndog/0.png,dgo\n': "'dgo' is a label, but none of the classes",
    'cat/0.png,1\ndog/0.png,7\n': "'7' is a label, but none of the classes",
    'cat/0.png,-1\ndog/0.png,1\n': "'-1' is a label, but none of the classes",
}


@pytest.mark.parametrize('text', BAD)
def test_bad_tables__are_told_with_the_line(root, text):
    (root / 'x.csv').write_text(text)
    with pytest.raises(UserError, match=BAD[text]):
        LabelledImageFolder(str(root), labels='x.csv', classes=['cat', 'dog'])


def test_folders_that_do_not_fit(root):
    with pytest.raises(MissingFileError, match='no such file'):
        LabelledImageFolder(str(root), labels='none.csv')
    with pytest.raises(UserError, match="part='test'"):
        LabelledImageFolder(str(root), part='test')
    (root / 'loose.png').write_bytes(b'')
    with pytest.raises(UserError, match='loose.png and 0 more images lie in no class folder'):
        LabelledImageFolder(str(root))
    (root / 'loose.png').unlink()
    shutil.rmtree(root / 'dog')
    with pytest.raises(UserError, match="has one class, 'cat'"):
        LabelledImageFolder(str(root))


def table(root, labels, **options):
    """A data set of one image for each label, and what it warns of."""
    names = [f'{name}/{number}.png' for number in range(0, 10, 2) for name in ('cat', 'dog')]
    lines = [f'{name},{label}' for name, label in zip(names, labels, strict=False)]
    (root / 'labels.csv').write_text('\n'.join(['file,label', *lines]))
    dataset = LabelledImageFolder(str(root), labels='labels.csv', **options)
    given = found(dataset)
    return [given[name] for name in names if name in given], dataset.metainfo['classes']


@pytest.mark.parametrize('wrong', ['-1', 'nan', 'NaN', '-100', '-1.0', 'null'])
def test_numbers__that_are_no_class_are_told(root, wrong):
    with pytest.raises(UserError, match=rf'cat/2.png has the label {wrong!r}.* without a label'):
        table(root, ['0', '1', wrong, '2'])
    if wrong in ('nan', 'NaN', 'null'):
        with pytest.raises(UserError, match='cat/2.png has the label'):
            table(root, ['red', 'blue', wrong])
    else:
        assert table(root, ['red', 'blue', wrong])[0] is not None
    classes = ['0', '1', wrong]
    assert table(root, ['0', wrong, '1'], classes=classes) == ([0, 2, 1], tuple(classes))


def test_numbers__of_a_column_of_floats(root):
    labels = [f'{n}.0' for n in range(10)] + ['10.0']
    assert table(root, labels[:1] + labels[2:])[0] == [0, 2, 3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize('names', [['1_1', '1_2'], ['1.5', '2'], ['-', '1'], ['1e2', '7']])
def test_numbers__that_are_names(root, names):
    assert table(root, names)[1] == tuple(sorted(names))


@pytest.mark.parametrize('classes', [None, ['a', 'b', 'c', 'd']])
def test_numbers__from_1_on(root, classes, monkeypatch):
    told = []
    monkeypatch.setattr(labelled_image_folder, 'print_log', lambda text, **_: told.append(text))
    assert table(root, '123', classes=classes)[0] == [1, 2, 3]
    assert len(told) == 1 and 'labels from 1 on' in told[0]
    assert table(root, '123', classes=['1', '2', '3'])[0] == [0, 1, 2] and len(told) == 1
    assert table(root, '012')[0] == [0, 1, 2] and len(told) == 1
    with pytest.raises(UserError, match='1 to 3, but numbers of classes begin at 0: subtract 1'):
        table(root, '123', classes=['a', 'b', 'c'])


@pytest.mark.parametrize('spelling', ['./{}', '{folder}/{}', 'x/../{}', './/{}'])
def test_tables__with_two_paths_of_one_image(root, spelling):
    name, other = sorted(path.relative_to(root).as_posix() for path in root.rglob('*.png'))[:2]
    again = spelling.format(name, folder=root)
    table = root / 'twice.csv'
    table.write_text(f'{name},cat\n{again},cat\n{other},dog\n')
    assert len(LabelledImageFolder(str(root), labels='twice.csv')) == 2
    table.write_text(f'{name},cat\n{again},dog\n{other},dog\n')
    with pytest.raises(UserError, match="has the labels 'cat' and 'dog'"):
        LabelledImageFolder(str(root), labels='twice.csv')
