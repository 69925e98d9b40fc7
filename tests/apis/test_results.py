"""Results as arrays, rows, tables, files and pictures."""

import csv
import json
import sys

import checkpoints_of_models as made
import cv2
import numpy as np
import pandas
import pyarrow.parquet
import pytest

from beit_mm import load_model
from beit_mm.apis.results import (
    AttentionMaps,
    Classifications,
    Embeddings,
    Reconstructions,
    Segmentations,
    Tokens,
)
from beit_mm.apis.results.picture_names import picture_names
from beit_mm.apis.results.segmentations import legend_of
from beit_mm.contracts import MissingPackageError, UserError

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.2, 0.3]], np.float32)


@pytest.fixture
def classes() -> Classifications:
    return Classifications(
        files=['a/1.png', 'a/2, or 3.png'],
        pred_label=np.array([1, 0]),
        pred_score=np.array([0.7, 0.5], np.float32),
        pred_scores=SCORES,
        classes=['ant', 'bee', 'cow'],
        topk=2,
    )


def read_csv(path) -> list[dict]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


def test_rows__have_the_keys_of_mmpretrain(classes):
    row = classes[0]
    assert (row['pred_label'], row['pred_class'], row['img_path']) == (1, 'bee', 'a/1.png')
    assert row['pred_score'] == pytest.approx(0.7) and (row['pred_scores'] == SCORES[0]).all()
    assert [row['pred_class'] for row in classes] == ['bee', 'ant'] and len(classes) == 2
    assert isinstance(row['pred_label'], int) and isinstance(row['pred_score'], float)
    classes.classes = None
    assert classes[0]['pred_class'] == '1'
    classes.classes = ['ant']  # fewer names than outputs
    assert classes.pred_class == ['1', 'ant']


def test_table__is_the_same_in_every_format(classes, tmp_path):
    for suffix in ('csv', 'parquet', 'npz'):
        classes.save(tmp_path / 'new' / f'x.{suffix}')
    expected = classes.table()
    assert expected['class_2'] == ['cow', 'cow'] and 'class_3' not in expected
    rows = read_csv(tmp_path / 'new' / 'x.csv')
    assert [row['file'] for row in rows] == classes.files
    assert [float(row['score_2']) for row in rows] == expected['score_2']
    assert pyarrow.parquet.read_table(tmp_path / 'new' / 'x.parquet').to_pydict() == expected
    frame = classes.to_pandas()
    assert frame['pred_class'].tolist() == ['bee', 'ant'] and [*frame.columns] == [*expected]
    arrays = np.load(tmp_path / 'new' / 'x.npz')
    assert (arrays['pred_scores'] == SCORES).all() and arrays['files'].tolist() == classes.files


def test_save__refuses_what_would_be_lost(classes, tmp_path):
    path = tmp_path / 'x.csv'
    classes.save(path)
    before = path.read_bytes()
    with pytest.raises(UserError, match='exists already'):
        classes.save(path)
    classes.pred_label = classes.pred_label[::-1]
    classes.save(path, overwrite=True)
    assert path.read_bytes() != before
    for name in ('x.xlsx', 'x.json', 'folder'):
        with pytest.raises(UserError, match='.csv, .parquet, .npz, not as'):
            classes.save(tmp_path / name)


def test_optional_packages__are_named(classes, tmp_path, monkeypatch):
    for package in ('pandas', 'pyarrow'):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match='pip install pandas'):
        classes.to_pandas()
    with pytest.raises(MissingPackageError, match='pip install pyarrow'):
        classes.save(tmp_path / 'x.parquet')
    assert [*tmp_path.iterdir()] == []
    classes.save(tmp_path / 'x.csv')  # needs neither


def test_embeddings__of_patches_are_arrays_and_no_table(tmp_path):
    found = Embeddings(files=['a', 'b'], features=np.arange(6.0).reshape(2, 3))
    found.save(tmp_path / 'x.csv')
    assert [float(v) for v in read_csv(tmp_path / 'x.csv')[1].values() if v != 'b'] == [3, 4, 5]
    patches = Embeddings(files=['a'], features=np.zeros((1, 2, 2, 3)))
    patches.save(tmp_path / 'x.npz')
    with pytest.raises(UserError, match="pool='mean'"):
        patches.save(tmp_path / 'y.csv')
    mixed = np.empty(2, object)
    mixed[:] = [np.zeros((1, 2, 3)), np.zeros((2, 2, 3))]
    Embeddings(files=['a', 'b'], features=mixed).save(tmp_path / 'z.npz')
    with np.load(tmp_path / 'z.npz') as found:
        shapes = {name: found[name].shape for name in found if name != 'files'}
    assert shapes == {'features.0': (1, 2, 3), 'features.1': (2, 2, 3)}


@pytest.mark.parametrize('suffix', ['csv', 'parquet', 'npz'])
def test_file_name__that_is_no_utf_8_is_written_in_letters(classes, tmp_path, suffix):
    classes.files[0] = 'b\udcff.png'  # as Python reads the byte 255 of a name
    classes.save(tmp_path / f'x.{suffix}')
    if suffix == 'csv':
        names = pandas.read_csv(tmp_path / 'x.csv').file
    elif suffix == 'parquet':
        names = pandas.read_parquet(tmp_path / 'x.parquet').file
    else:
        names = np.load(tmp_path / 'x.npz')['files']
    assert [*names] == ['b\udcff.png' if suffix == 'npz' else r'b\udcff.png', 'a/2, or 3.png']


def test_joined__keeps_order_failures_and_sizes():
    parts = [
        Tokens(files=['a'], ids=np.zeros((1, 2, 2), int), vocab_size=9),
        Tokens(files=[], failed=dict(b='b: broken'), vocab_size=9),
        Tokens(files=['c'], ids=np.ones((1, 2, 3), int), vocab_size=9),
    ]
    found = Tokens.joined(parts)
    assert found.files == ['a', 'c'] and found.failed == dict(b='b: broken')
    assert [grid.shape for grid in found.ids] == [(2, 2), (2, 3)] and found.vocab_size == 9
    assert found.table()['ids'] == [[0] * 4, [1] * 6]
    assert Tokens.joined(parts[1:2]).table() == dict(file=[], height=[], width=[], ids=[])


def test_tokens__in_a_csv_file_are_read_as_json(tmp_path):
    ids = np.arange(6).reshape(1, 2, 3)
    Tokens(files=['a'], ids=ids, vocab_size=9).save(tmp_path / 'x.csv')
    (row,) = read_csv(tmp_path / 'x.csv')
    found = np.reshape(json.loads(row['ids']), (int(row['height']), int(row['width'])))
    assert (found == ids[0]).all()


@pytest.mark.parametrize('kind', [Embeddings, Tokens, Classifications, Segmentations])
def test_no_image__makes_an_empty_table(kind, tmp_path):
    kind().save(tmp_path / 'x.csv')
    assert read_csv(tmp_path / 'x.csv') == []


def test_segmentations__masks_overlays_and_legend(tmp_path):
    masks = np.zeros((2, 20, 30), np.uint8)
    masks[0, 5:10, 5:10] = 2
    images = np.full((2, 20, 30, 3), 100, np.uint8)
    names = [str(tmp_path / 'in' / name) for name in ('a/1.png', 'b/1.png')]
    found = Segmentations(
        files=names,
        masks=masks,
        images=images,
        classes=['ground', 'tree', 'sky'],
        palette=[[0, 0, 0], [0, 255, 0], [200, 0, 0]],
    )
    assert found[0].keys() == {'img_path', 'predictions'}
    found.save(tmp_path / 'out')
    for index, name in enumerate(('a/1.png', 'b/1.png')):
        stored = cv2.imread(str(tmp_path / 'out' / 'masks' / name), cv2.IMREAD_UNCHANGED)
        assert (stored == masks[index]).all()
        overlay = cv2.imread(str(tmp_path / 'out' / 'overlays' / name))[..., ::-1]
        assert overlay.shape[1] > 30  # the legend
        shown = overlay[:20, :30]
        assert (shown[masks[index] == 0] == 100).all()  # a black background is clear
    overlay = cv2.imread(str(tmp_path / 'out' / 'overlays' / 'a' / '1.png'))[..., ::-1]
    assert (overlay[7, 7] == [160, 40, 40]).all()
    legend = overlay[:, 30:].reshape(-1, 3).tolist()
    assert [200, 0, 0] in legend and [0, 255, 0] not in legend  # of the classes that are there
    entries = legend_of(found.classes, found.palette, {0, 2, 255})
    assert entries == [('ground (clear)', (255, 255, 255)), ('sky', [200, 0, 0])]
    with pytest.raises(UserError, match='exists already'):
        found.save(tmp_path / 'out')
    found.save(tmp_path / 'out', overwrite=True)
    found.save(tmp_path / 'stream', names={names[0]: 'first', names[1]: 'deep/second'})
    assert (tmp_path / 'stream' / 'masks' / 'deep' / 'second.png').is_file()
    found.save(tmp_path / 'x.csv')
    assert float(read_csv(tmp_path / 'x.csv')[0]['sky']) == pytest.approx(25 / 600)


def test_segmentations__without_names_and_with_many_classes(tmp_path):
    masks = np.full((1, 4, 4), 300, np.uint16)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    found = Segmentations(files=['image 0'], masks=masks, images=images)
    found.save(tmp_path)
    stored = cv2.imread(str(tmp_path / 'masks' / 'image 0.png'), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16 and (stored == 300).all()
    assert found.table()['300'] == [1.0]


def test_reconstructions__table_and_pictures(tmp_path):
    pictures = np.zeros((1, 8, 8, 3), np.float32)
    mask = np.array([[[True, False], [True, True]]])
    ids = np.array([[[1, 2], [3, 4]]])
    found = Reconstructions(
        files=['a.png'],
        original=pictures,
        masked=pictures,
        predicted=pictures + 0.5,
        truth=pictures,
        mask=mask,
        predicted_ids=ids,
        true_ids=np.array([[[1, 2], [3, 0]]]),
    )
    assert found.table() == dict(file=['a.png'], masked=[3], right=[2], mse=[0.25])
    found.save(tmp_path)
    assert cv2.imread(str(tmp_path / 'a.png')).shape[1] > 4 * 128
    tokens = Reconstructions(files=['a.png'], mask=mask, predicted_ids=ids, true_ids=ids)
    assert 'mse' not in tokens.table()
    with pytest.raises(UserError, match='cannot decode'):
        tokens.save(tmp_path / 'other')


def test_attention__pictures_and_arrays(tmp_path):
    maps = np.random.default_rng(0).random((1, 2, 4, 6)).astype(np.float32)
    found = AttentionMaps(files=['a.png'], maps=maps, to_class=np.zeros((1, 2)))
    found.save(tmp_path / 'pictures')
    assert cv2.imread(str(tmp_path / 'pictures' / 'a.png')).shape[0] > 4 * 16
    found.save(tmp_path / 'x.npz')
    assert (np.load(tmp_path / 'x.npz')['maps'] == maps).all()
    with pytest.raises(UserError, match='.npz, a folder of pictures, not as .csv'):
        found.save(tmp_path / 'x.csv')


@pytest.mark.parametrize(
    ('files', 'expected'),
    [
        (['/x/a/1.png', '/x/b/1.png'], ['a/1', 'b/1']),
        (['/x/a/1.png'], ['1']),
        (['/x/1.png', '/x/1.jpg'], ['1.png', '1.jpg']),
        (['1.png', '2.png'], ['1', '2']),
        (['a/1.png', '2.png'], ['a/1', '2']),
        (['../x/1.png', '../y/1.png'], ['x/1', 'y/1']),
        (['/x/1.png', 'image 1'], ['1', 'image 1']),
    ],
)
def test_picture_names__differ_and_stay_inside_the_folder(files, expected):
    assert [*picture_names(files).values()] == expected


def test_verbs__give_these_results(tmp_path):
    made.saved(made.pretraining(), tmp_path / 'a.pth')
    model = load_model(tmp_path / 'a.pth')
    images = np.random.default_rng(0).integers(0, 255, (2, 40, 40, 3), dtype=np.uint8)
    for verb, suffixes in (
        ('embed', ('csv', 'parquet', 'npz')),
        ('tokenize', ('csv', 'parquet', 'npz')),
        ('reconstruct', ('csv', 'parquet', 'npz', '')),
        ('attention', ('npz', '')),
    ):
        result = getattr(model, verb)(images)
        assert len([*result]) == 2
        for suffix in suffixes:
            result.save(tmp_path / verb / (f'x.{suffix}' if suffix else 'pictures'))


def test_pictures__replace_a_link_and_do_not_follow_it(tmp_path):
    from beit_mm.apis.results.picture_names import write_png

    target, link = tmp_path / 'target.png', tmp_path / 'out' / 'a.png'
    link.parent.mkdir()
    link.symlink_to(target)
    with pytest.raises(UserError, match='exists already'):
        write_png(link, np.zeros((4, 4), np.uint8), overwrite=False)
    write_png(link, np.zeros((4, 4), np.uint8), overwrite=True)
    assert not target.exists() and link.is_file() and not link.is_symlink()
