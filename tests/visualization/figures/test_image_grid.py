import base64
import xml.etree.ElementTree as ElementTree

import cv2
import numpy as np
import pytest

from beit_mm.visualization import grid, grid_figure, to_svg

SVG = '{http://www.w3.org/2000/svg}'


def flat(value, height=6, width=10):
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize('zoom, gap', [(1, 4), (3, 2), (1, 0)])
@pytest.mark.parametrize('titles', [(), ('a', 'b', 'c')])
def test_grid__each_image_in_its_cell_and_white_between(zoom, gap, titles):
    rows = [[flat(10 * (3 * r + c + 1)) for c in range(3)] for r in range(2)]
    picture = grid(rows, titles=titles, zoom=zoom, gap=gap)
    top, high, wide = (22 if titles else 0), 6 * zoom, 10 * zoom
    assert picture.dtype == np.uint8
    assert picture.shape == (gap + top + 2 * (high + gap), gap + 3 * (wide + gap), 3)
    rest = picture[gap + top :].copy()
    for r in range(2):
        for c in range(3):
            y, x = r * (high + gap), gap + c * (wide + gap)
            assert (rest[y : y + high, x : x + wide] == 10 * (3 * r + c + 1)).all()
            rest[y : y + high, x : x + wide] = 255
    assert (rest == 255).all()
    assert (picture[:gap] == 255).all()


def test_grid__images_keep_their_orientation_and_channels():
    image = np.arange(6 * 10 * 3, dtype=np.uint8).reshape(6, 10, 3)
    assert np.array_equal(grid([[image]], gap=1)[1:-1, 1:-1], image)
    twice = grid([[image]], zoom=2, gap=1)[1:-1, 1:-1]
    assert np.array_equal(twice, image.repeat(2, 0).repeat(2, 1))


def dark_columns(strip):
    return np.flatnonzero((strip < 128).all(2).any(0))


def test_grid__titles_stand_above_their_columns():
    columns = [[flat(255, 6, 40), flat(255, 6, 40)]]
    first, second = (grid(columns, titles=titles) for titles in (['iii', ''], ['', 'iii']))
    dark = [dark_columns(picture[4:26]) for picture in (first, second)]
    assert 4 <= dark[0].min() and dark[0].max() < 44
    assert abs(dark[0].min() + dark[0].max() - (4 + 44 - 1)) <= 2  # in the middle
    assert np.array_equal(dark[1], dark[0] + 44)
    assert (first[26:] == 255).all()  # nowhere else


def test_grid__labels_stand_beside_their_rows():
    rows = [[flat(255, 20)], [flat(255, 20)]]
    first, second = (grid(rows, labels=labels) for labels in (['iii', ''], ['', 'iii']))
    assert np.array_equal(first[4:24], second[28:48])
    assert len(dark_columns(first[4:24])) and dark_columns(first).max() < 96
    assert (first[28:48] == 255).all() and (second[4:24] == 255).all()


def test_grid__text_is_no_formula():
    titles = ['$a$'], ['a']
    shown = [dark_columns(grid([[flat(255, 6, 60)]], titles=t)) for t in titles]
    assert np.ptp(shown[0]) > np.ptp(shown[1]) + 8


def test_grid_figure__an_svg_keeps_images_bit_by_bit_and_apart():
    rng = np.random.default_rng(0)
    rows = [[rng.integers(0, 256, (4, 6, 3), dtype=np.uint8) for _ in range(3)] for _ in range(2)]
    figure = grid_figure(rows, titles=['a', 'b & c', 'd'], zoom=5, gap=2, breaks=[2])
    root = ElementTree.fromstring(to_svg(figure))
    assert [text.text for text in root.iter(SVG + 'text')] == ['a', 'b & c', 'd']
    cells = list(root.iter(SVG + 'image'))
    flat = [image for row in rows for image in row]
    for cell, image in zip(cells, flat, strict=True):
        png = base64.b64decode(cell.get('{http://www.w3.org/1999/xlink}href').split(',')[1])
        read = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.array_equal(read, image)
        assert 'image-rendering:pixelated' in cell.get('style')
    pixel = 72 / 100  # points
    moves = [cell.get('transform').removeprefix('matrix(').rstrip(')').split() for cell in cells]
    scale, _, _, _, lefts, tops = (np.array(moves, float) / pixel).T.round(2)
    assert (scale == 5).all()
    assert lefts.tolist() == [2, 34, 74] * 2  # the third stands after a break
    assert tops[3] - tops[0] == 22
