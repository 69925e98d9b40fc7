import functools
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from beit_mm.cli import make_digit_scenes
from beit_mm.contracts import UserError

FEW = ['--unlabelled', '12', '--train', '130', '--val', '25']


@pytest.fixture(scope='module', autouse=True)
def read_once():
    """Read digits and photographs once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ('load_digits', 'load_photos'):
            function = functools.cache(getattr(make_digit_scenes, name))
            patch.setattr(make_digit_scenes, name, function)
        yield


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'digit_scenes'
    make_digit_scenes.main([str(out), *FEW])
    return out


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob('*') if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_same_arguments_same_bytes__other_seed_other_pictures(scenes, tmp_path):
    make_digit_scenes.main([str(tmp_path / 'again'), *FEW])
    first, again = contents(scenes), contents(tmp_path / 'again')
    assert first == again
    assert sum(name.endswith('.png') for name in first) == 12 + 2 * (130 + 25)
    make_digit_scenes.main([str(tmp_path / 'other'), *FEW, '--seed', '1'])
    other = contents(tmp_path / 'other')
    assert set(other) == set(first)  # the same digits, so the same labels
    images = [n for n in first if n.endswith('.png') and not n.startswith('masks/')]
    assert not any(first[name] == other[name] for name in images)
    assert len({first[name] for name in images}) == len(images)


def test_training_and_validation_share_neither_digits_nor_photographs(tmp_path, monkeypatch):
    used, draw = {}, make_digit_scenes.draw_scene
    last = []

    def record_draw(digit, photo, rng, args):
        last[:] = [digit.tobytes(), photo.tobytes()]
        return draw(digit, photo, rng, args)

    def record_write(path, image):
        split = path.relative_to(tmp_path / 'out').parts[0]
        for kind, value in zip(('digits', 'photos'), last, strict=True):
            used.setdefault((kind, split), set()).add(value)

    monkeypatch.setattr(make_digit_scenes, 'draw_scene', record_draw)
    monkeypatch.setattr(make_digit_scenes, 'write', record_write)
    make_digit_scenes.main(
        [str(tmp_path / 'out'), '--unlabelled', '150', '--train', '150', '--val', '150']
    )
    for kind in ('digits', 'photos'):
        training = used[kind, 'train'] | used[kind, 'unlabelled']
        assert not training & used[kind, 'val']
        assert len(used[kind, 'val']) >= 5
    assert used['digits', 'unlabelled'] == used['digits', 'train']  # no others are known
    whole = make_digit_scenes.load_digits()
    train, val = ({d.tobytes() for d in whole[split][0]} for split in ('train', 'val'))
    assert not train & val and len(train) + len(val) == 5000


@pytest.mark.parametrize('size', [32, 64, 45])
def test_masks_are_the_strokes(size):
    args = make_digit_scenes.parse_args(['out', '--size', str(size)])
    digit = make_digit_scenes.load_digits()['val'][0][3]
    photo = np.full((90, 120, 3), 128, np.uint8)
    for seed in range(5):
        image, strokes = make_digit_scenes.draw_scene(
            digit, photo, np.random.default_rng(seed), args
        )
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        assert strokes.shape == (size, size) and strokes.dtype == bool
        # ink is at most 50 and paper at least 190, and a stroke is where ink outweighs paper
        paper = np.median(image.reshape(-1, 3)[~strokes.ravel()], 0)
        ink = image[strokes].min(0)
        middle = (paper + ink.astype(float)) / 2
        dark = (image < middle).all(2)
        assert (dark == strokes).mean() > 0.97
        share = strokes.mean() * size**2 / (digit > 127).sum()  # the zoom of the digit, squared
        assert (0.6 * size / 20) ** 2 * 0.75 < share < (0.85 * size / 20) ** 2 * 1.25


@pytest.mark.parametrize('size', [64, 45])
def test_files_of_another_size(tmp_path, size):
    few = ['--unlabelled', '1', '--train', '10', '--val', '10', '--size', str(size)]
    make_digit_scenes.main([str(tmp_path / 'out'), *few])
    for path in (tmp_path / 'out').rglob('*.png'):
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape[:2] == (size, size), path


def test_mask_files_name_the_digit(scenes):
    for split in ('train', 'val'):
        images = sorted(path.relative_to(scenes / split) for path in scenes.glob(f'{split}/*/*'))
        masks = sorted(
            p.relative_to(scenes / 'masks' / split) for p in scenes.glob(f'masks/{split}/*/*')
        )
        assert images == masks
        for name in masks:
            mask = cv2.imread(str(scenes / 'masks' / split / name), cv2.IMREAD_UNCHANGED)
            assert mask.shape == (32, 32)
            assert set(np.unique(mask)) == {0, int(name.parts[0]) + 1}


def test_lists_are_balanced_and_nested(tmp_path, monkeypatch):
    monkeypatch.setattr(make_digit_scenes, 'LIST_SIZES', (20, 50, 100, 2000))
    monkeypatch.setattr(make_digit_scenes, 'write', lambda path, image: path.touch())
    out = tmp_path / 'out'
    make_digit_scenes.main([str(out), '--unlabelled', '1', '--train', '300', '--val', '10'])
    lists = {
        path.stem: path.read_text().splitlines() for path in (out / 'meta').glob('train_*.txt')
    }
    assert set(lists) == {'train_20', 'train_50', 'train_100', 'train_full'}  # 2000 are too many
    for size in (20, 50, 100):
        assert Counter(line.split()[1] for line in lists[f'train_{size}']) == {
            str(digit): size // 10 for digit in range(10)
        }
    order = ['train_20', 'train_50', 'train_100', 'train_full']
    for small, large in zip(order, order[1:], strict=False):
        assert set(lists[small]) < set(lists[large])
    assert len(set(lists['train_full'])) == 300
    for name, lines in lists.items():
        paths, labels = zip(*(line.split() for line in lines), strict=True)
        assert all((out / 'train' / path).is_file() for path in paths)
        assert [path.split('/')[0] for path in paths] == list(labels)
        masks = (out / 'meta' / f'{name.replace("train", "seg")}.txt').read_text().splitlines()
        assert [f'{mask}.png' for mask in masks] == list(paths)
    assert (out / 'meta' / 'val_full.txt').read_text().count('\n') == 10


def test_an_interrupted_run_is_seen_and_completed(scenes, tmp_path, monkeypatch, capsys):
    out, write, written = tmp_path / 'out', make_digit_scenes.write, []

    def stop(path, image):
        written.append(path)
        if len(written) > 100:
            path.write_bytes(b'half a picture')
            raise KeyboardInterrupt
        write(path, image)

    monkeypatch.setattr(make_digit_scenes, 'write', stop)
    with pytest.raises(KeyboardInterrupt):
        make_digit_scenes.main([str(out), *FEW])
    monkeypatch.undo()
    assert not (out / 'meta' / 'digit_scenes.json').exists()
    with pytest.raises(UserError, match='was made with seed=0.*--overwrite'):
        make_digit_scenes.main([str(out), *FEW, '--seed', '3'])
    make_digit_scenes.main([str(out), *FEW])
    assert contents(out) == contents(scenes)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in out.rglob('*')}
    make_digit_scenes.main([str(out), *FEW])
    assert 'complete already' in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in out.rglob('*')} == before


def test_other_arguments_are_refused_and_replace_only_when_told(scenes, tmp_path):
    out = tmp_path / 'out'
    larger = ['--unlabelled', '14', '--train', '220', '--val', '30', '--seed', '7']
    make_digit_scenes.main([str(out), *larger])
    (out / 'notes.txt').write_text('mine')
    before = contents(out)
    with pytest.raises(UserError, match='seed=7, unlabelled=14, train=220, val=30.*--overwrite'):
        make_digit_scenes.main([str(out), *FEW])
    assert contents(out) == before
    make_digit_scenes.main([str(out), *FEW, '--overwrite'])
    after = contents(out)
    assert after.pop('notes.txt') == b'mine'
    assert after == contents(scenes)  # nothing is left of the larger set


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'train' / '0').mkdir(parents=True)
    (tmp_path / 'train' / '0' / '00001.png').write_bytes(b'a photograph')
    for extra in ([], ['--overwrite']):
        with pytest.raises(UserError, match='not empty'):
            make_digit_scenes.main([str(tmp_path), *FEW, *extra])
    assert contents(tmp_path) == {'train/0/00001.png': b'a photograph'}


def test_counts_and_sizes_are_positive(capsys):
    with pytest.raises(SystemExit):
        make_digit_scenes.parse_args(['out', '--size', '0'])
    assert 'expected at least 1' in capsys.readouterr().err
