import cv2
import numpy as np
import pytest

from beit_mm.cli import make_tiles
from beit_mm.contracts import UserError


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def folder(tmp_path):
    random = np.random.RandomState(0)
    write(tmp_path / 'images/a/x.png', random.randint(0, 2**16, (11, 13, 4), np.uint16))
    write(tmp_path / 'images/y.jpg', np.zeros((3, 20, 3), np.uint8))  # lower than a tile
    write(tmp_path / 'masks/a/x.png', random.randint(0, 9, (11, 13), np.uint8))
    write(tmp_path / 'masks/y.png', np.zeros((3, 20), np.uint8))
    return tmp_path


def tiles_of(folder):
    return {
        str(path.relative_to(folder)): cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in sorted(folder.rglob('*.png'))
    }


def run(folder, *arguments):
    images, out = str(folder / 'images'), str(folder / 'out')
    make_tiles.main([images, out, '--size', '4', *arguments])


def test_tiles__whole_ones_from_the_middle_with_their_masks(folder, capsys):
    masks = ['--masks', str(folder / 'masks'), str(folder / 'out_masks')]
    run(folder, *masks)
    image = cv2.imread(str(folder / 'images/a/x.png'), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(folder / 'masks/a/x.png'), cv2.IMREAD_UNCHANGED)
    got, labels = tiles_of(folder / 'out'), tiles_of(folder / 'out_masks')
    places = [(top, left) for top in (1, 5) for left in (0, 4, 8)]
    assert list(got) == list(labels) == [f'a/x_{top}_{left}.png' for top, left in places]
    for top, left in places:
        name = f'a/x_{top}_{left}.png'
        assert got[name].dtype == np.uint16
        np.testing.assert_array_equal(got[name], image[top : top + 4, left : left + 4])
        np.testing.assert_array_equal(labels[name], mask[top : top + 4, left : left + 4])
    said = capsys.readouterr().out
    assert '6 tiles of 2 images' in said and '1 images are smaller' in said and 'y.jpg' in said


def test_tiles__scaled(folder):
    write(folder / 'images/a/x.png', np.kron(np.eye(8, dtype=np.uint8) * 200, np.ones((2, 2))))
    write(folder / 'masks/a/x.png', np.kron(np.eye(8, dtype=np.uint8), np.ones((2, 2))))
    masks = ['--masks', str(folder / 'masks'), str(folder / 'out_masks')]
    run(folder, '--scale', '0.5', *masks)
    for name, tile in tiles_of(folder / 'out').items():
        same = name in ('a/x_0_0.png', 'a/x_4_4.png')
        np.testing.assert_array_equal(tile, 200 * np.eye(4) if same else np.zeros((4, 4)))
        np.testing.assert_array_equal(tiles_of(folder / 'out_masks')[name] * 200, tile)


def test_tiles__what_it_refuses(folder, capsys):
    with pytest.raises(SystemExit):
        make_tiles.main([str(folder / 'images'), str(folder / 'out'), '--size', '0'])
    assert '--size: 0: expected at least 1' in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match='nowhere has no images'):
        make_tiles.main([str(folder / 'nowhere'), str(folder / 'out'), '--size', '4'])
    masks = ['--masks', str(folder / 'masks'), str(folder / 'out_masks')]
    write(folder / 'masks/a/x.png', np.zeros((13, 11), np.uint8))  # transposed
    with pytest.raises(UserError, match=r'x.png is \(13, 11\), its image \(11, 13\)'):
        run(folder, *masks)
    with pytest.raises(UserError, match='out exists already'):
        run(folder)
    write(folder / 'images/a/x.jpg', np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(UserError, match='several images are named a/x'):
        make_tiles.main([str(folder / 'images'), str(folder / 'new'), '--size', '4'])
