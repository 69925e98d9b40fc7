"""beit-mm VERB MODEL IMAGES --out PATH: the result of load_model on the disk, also after a stop."""

import csv

import checkpoints_of_models as made
import numpy as np
import pytest

from beit_mm import load_model
from beit_mm.cli import stored_parts
from beit_mm.cli.classify import main as classify
from beit_mm.cli.embed import main as embed
from beit_mm.cli.predict import main as predict
from beit_mm.cli.segment import main as segment
from beit_mm.contracts import UserError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A checkpoint, five images and one that is broken."""
    folder = tmp_path_factory.mktemp('inference')
    made.saved(made.classifier(), folder / 'a.pth')
    made.write_images(folder / 'images', sizes=[(40, 40)] * 5)
    (folder / 'images' / 'broken.png').write_bytes(b'no image')
    return folder


def stop_after(monkeypatch, batches):
    """Have the next call stop, as by Ctrl-C, when so many batches are kept."""
    add = stored_parts.StoredParts.add
    left = [batches]

    def counted(self, result):
        if left[0] == 0:
            monkeypatch.setattr(stored_parts.StoredParts, 'add', add)
            raise KeyboardInterrupt
        left[0] -= 1
        add(self, result)

    monkeypatch.setattr(stored_parts.StoredParts, 'add', counted)


def test_embed__is_what_load_model_gives(folder, tmp_path, capsys):
    out = tmp_path / 'a' / 'features.npz'
    arguments = [str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out), '--workers', '0']
    embed([*arguments, '--layer', '1', '--pool', 'cls'])
    expected = load_model(folder / 'a.pth').embed(folder / 'images', layer=1, pool='cls')
    with np.load(out) as found:
        assert list(found['files']) == expected.files and len(expected) == 5
        np.testing.assert_array_equal(found['features'], expected.features)
    captured = capsys.readouterr()
    assert 'broken.png' in captured.err
    assert f'wrote {out}: 5 images, 1 left out' in captured.out
    assert [path.name for path in out.parent.iterdir()] == ['features.npz']


@pytest.mark.parametrize('name', ['x.csv', 'x.npz', 'x.parquet'])
def test_stopped_and_called_again__is_one_run(folder, tmp_path, monkeypatch, name, capsys):
    model, images = str(folder / 'a.pth'), str(folder / 'images')
    options = ['--batch-size', '2', '--workers', '0']
    whole, parts = tmp_path / name, tmp_path / 'again' / name
    classify([model, images, '--out', str(whole), *options])
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        classify([model, images, '--out', str(parts), *options])
    assert not parts.exists()
    with pytest.raises(UserError, match='x.*parts has what .* of another options'):
        classify([model, images, '--out', str(parts), '--topk', '2', *options])
    capsys.readouterr()
    classify([model, images, '--out', str(parts), *options])
    assert '4 of 6 images are done already' in capsys.readouterr().out
    if name.endswith('npz'):
        first, second = np.load(whole), np.load(parts)
        assert set(first) == set(second)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
    else:
        assert whole.read_bytes() == parts.read_bytes()
    assert not parts.with_name(f'{name}.parts').exists()


def test_pictures__a_stopped_call_leaves_the_same(folder, tmp_path, monkeypatch):
    made.saved(made.segmentor(), tmp_path / 'a.pth')
    arguments = [str(tmp_path / 'a.pth'), str(folder / 'images'), '--batch-size', '2']
    arguments += ['--workers', '0', '--out']
    segment([*arguments, str(tmp_path / 'whole')])
    monkeypatch.setattr(stored_parts, 'SECONDS', 0)  # a part for each batch
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        segment([*arguments, str(tmp_path / 'parts')])
    assert (tmp_path / 'parts' / 'masks').is_dir()
    segment([*arguments, str(tmp_path / 'parts')])
    whole = {path.relative_to(tmp_path / 'whole') for path in (tmp_path / 'whole').rglob('*.png')}
    assert len(whole) == 10  # masks and overlays
    for name in whole:
        expected = (tmp_path / 'whole' / name).read_bytes()
        assert (tmp_path / 'parts' / name).read_bytes() == expected
    with pytest.raises(UserError, match='whole exists already'):
        segment([*arguments, str(tmp_path / 'whole')])


def test_classify__csv(folder, tmp_path):
    out = tmp_path / 'x.csv'
    classify([str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out), '--workers', '0'])
    expected = load_model(folder / 'a.pth').classify(folder / 'images')
    rows = [*csv.DictReader(out.open())]
    assert [row['pred_class'] for row in rows] == expected.pred_class
    assert [float(row['pred_score']) for row in rows] == expected.pred_score.tolist()


def test_nothing_is_overwritten_unless_asked_for(folder, tmp_path):
    out = tmp_path / 'x.csv'
    out.write_text('mine')
    arguments = [str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out), '--workers', '0']
    with pytest.raises(UserError, match='x.csv exists already'):
        predict(arguments)
    assert out.read_text() == 'mine'
    predict([*arguments, '--overwrite'])
    assert out.read_text().startswith('file,pred_label')


def test_overwrite__that_was_stopped_goes_on(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / 'x.csv'
    arguments = [str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out)]
    arguments += ['--workers', '0', '--batch-size', '2']
    classify(arguments)
    expected = out.read_bytes()
    out.write_text('old')
    stop_after(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        classify([*arguments, '--overwrite'])
    with pytest.raises(UserError, match='x.csv exists already'):
        classify(arguments)
    capsys.readouterr()
    classify([*arguments, '--overwrite'])
    assert '4 of 6 images are done already' in capsys.readouterr().out
    assert out.read_bytes() == expected


@pytest.mark.parametrize('options', [['--layer', '99'], ['--pool', 'patches']])
def test_options_that_do_not_fit__leave_nothing_behind(folder, tmp_path, options):
    out = tmp_path / 'x.csv'
    arguments = [str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out), '--workers', '0']
    with pytest.raises(UserError):
        embed([*arguments, *options])
    assert [*tmp_path.iterdir()] == []


def test_out__inside_of_the_images_is_not_read(folder, tmp_path, capsys):
    made.saved(made.segmentor(), tmp_path / 'a.pth')
    images = tmp_path / 'images'
    made.write_images(images, sizes=[(40, 40)] * 2)
    arguments = [str(tmp_path / 'a.pth'), str(images), '--out', str(images / 'out')]
    for _ in range(2):
        segment([*arguments, '--workers', '0', '--overwrite'])
        assert '2 images' in capsys.readouterr().out


def test_no_image_that_can_be_used(folder, tmp_path, capsys):
    broken = str(folder / 'images' / 'broken.png')
    out = tmp_path / 'x.csv'
    with pytest.raises(UserError, match='None of 1 images can be used'):
        classify([str(folder / 'a.pth'), broken, '--out', str(out), '--workers', '0'])
    assert 'broken.png' in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []


def test_unfit_suffix__is_told_before_anything_is_computed(folder, tmp_path):
    out = tmp_path / 'x.tiff'
    with pytest.raises(UserError, match='x.tiff: .* are written as .csv'):
        classify([str(folder / 'a.pth'), str(folder / 'images'), '--out', str(out)])
    assert [*tmp_path.iterdir()] == []


def test_an_image_that_is_named_twice__is_one_also_after_a_stop(folder, tmp_path, monkeypatch):
    images, out = str(folder / 'images'), tmp_path / 'x.csv'
    arguments = [str(folder / 'a.pth'), images, images, f'{images}/0.png', '--out', str(out)]
    arguments += ['--batch-size', '1', '--workers', '0']
    stop_after(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        embed(arguments)
    embed(arguments)
    rows = [row['file'] for row in csv.DictReader(out.open())]
    assert len(rows) == len(set(rows)) == 5


def test_all_images_below_out__is_an_error_in_words(folder, tmp_path):
    images, model = tmp_path / 'images', tmp_path / 's.pth'
    made.saved(made.segmentor(), model)
    made.write_images(images, sizes=[(40, 40)])
    with pytest.raises(UserError, match='All images are in .*name another --out'):
        segment([str(model), str(images), '--out', str(images), '--overwrite'])
    assert {path.name for path in tmp_path.iterdir()} == {'images', 's.pth'}


@pytest.mark.slow  # imports mmseg
def test_segment__parts_of_a_table_or_an_array_hold_no_images(folder, tmp_path, monkeypatch):
    made.saved(made.segmentor(divisor=8), tmp_path / 'seg.pth')
    made.write_images(tmp_path / 'images', sizes=[(40, 40), (40, 48)])
    stored = []
    monkeypatch.setattr(
        stored_parts, 'open_atomically', lambda path: stored.append(path) or open(path, 'wb')
    )
    monkeypatch.setattr(stored_parts, 'rmtree', lambda folder, **options: None)
    arguments = [str(tmp_path / 'seg.pth'), str(tmp_path / 'images'), '--workers', '0', '--out']
    segment([*arguments, str(tmp_path / 'x.npz')])
    with np.load(stored[0]) as part, np.load(tmp_path / 'x.npz') as found:
        assert {'facts', 'masks.0', 'masks.1'} == {*part}
        assert [found[f'masks.{n}'].shape for n in range(2)] == [(40, 40), (40, 48)]
