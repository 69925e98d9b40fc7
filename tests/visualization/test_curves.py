import json

import numpy as np
import pytest

from beit_mm.visualization import draw_curves, read_scalars
from beit_mm.visualization.curves import COLORS

LEFT, TOP, RIGHT, BOTTOM = 52, 30, 420 - 12, 260 - 28  # the frame at the default size


def where(picture, color=COLORS[0]):
    """(y, x) of the pixels that have nearly this color."""
    return np.argwhere(np.abs(picture.astype(int) - color).max(2) < 30)


def test_a_line_runs_from_corner_to_corner():
    picture = draw_curves({'loss': ([0, 50, 100], [4.0, 3.0, 2.0])}, 'title')
    assert picture.shape == (260, 420, 3) and picture.dtype == np.uint8
    y, x = where(picture).T
    assert abs(x.min() - LEFT) <= 1 and abs(x.max() - RIGHT) <= 1
    assert abs(y.min() - TOP) <= 1 and abs(y.max() - BOTTOM) <= 1
    wanted = TOP + (x - LEFT) / (RIGHT - LEFT) * (BOTTOM - TOP)  # falls, so to the right it is low
    assert np.abs(y - wanted).max() <= 2


def test_two_curves_share_their_axes_and_have_colors_and_names():
    picture = draw_curves({'a': ([0, 10], [0.0, 0.0]), 'b': ([0, 10], [1.0, 1.0])}, '')
    assert abs(np.median(where(picture, COLORS[0])[:, 0]) - BOTTOM) <= 1
    assert abs(np.median(where(picture, COLORS[1])[:, 0]) - TOP) <= 1
    names = (slice(TOP + 4, TOP + 36), slice(RIGHT - 130, RIGHT - 100))
    assert len(where(picture[names], COLORS[0])) and len(where(picture[names], COLORS[1]))


def test_one_point_is_a_dot_in_the_middle():
    y, x = where(draw_curves({'loss': ([7], [3.0])}, '')).T
    assert len(y) > 4
    assert abs(x - (LEFT + RIGHT) / 2).max() <= 4 and abs(y - (TOP + BOTTOM) / 2).max() <= 4


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_a_gap(bad):
    values = [0.0, 0.0, bad, 1.0, 1.0, bad, 0.5]
    picture = draw_curves({'loss': (range(7), values)}, '')
    y, x = where(picture).T
    step = (RIGHT - LEFT) / 6
    middle = (x > LEFT + 1.1 * step) & (x < LEFT + 2.9 * step)
    assert not middle.any()
    assert np.abs(y[x < LEFT + step] - BOTTOM).max() <= 1
    last = x > RIGHT - 0.5 * step
    assert last.any() and np.abs(y[last] - (TOP + BOTTOM) / 2).max() <= 3


def test_nothing_to_draw_is_an_empty_frame():
    empty = draw_curves({}, 'title')
    assert np.array_equal(draw_curves({'loss': ([], [])}, 'title'), empty)
    assert np.array_equal(draw_curves({'loss': ([1, 2], [np.nan] * 2)}, 'title'), empty)
    assert not len(where(empty))
    assert not np.array_equal(draw_curves({}, 'another'), empty)


def test_other_sizes():
    picture = draw_curves({'loss': ([0, 1], [0.0, 1.0])}, '', size=(300, 200))
    assert picture.shape == (200, 300, 3)
    y, x = where(picture).T
    assert abs(x.max() - (300 - 12)) <= 1 and abs(y.max() - (200 - 28)) <= 1


def test_scalars_of_several_runs__later_ones_win_and_a_cut_line_is_left_out(tmp_path):
    runs = {
        '20260101_000000': [dict(loss=5.0, step=1), dict(loss=4.0, step=2), dict(acc=9.0, step=2)],
        '20260102_000000': [dict(loss=3.5, step=2), dict(loss=float('nan'), step=3)],
    }
    for name, entries in runs.items():
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps(entry) for entry in entries]
        (folder / 'scalars.json').write_text('\n'.join(lines) + '\n{"loss": 2.0, "st')
    steps, values = read_scalars(tmp_path)
    assert steps == [1, 2, 3]
    assert values[:2] == [5.0, 3.5] and np.isnan(values[2])
    assert read_scalars(tmp_path, 'acc') == ([2], [9.0])
    assert read_scalars(tmp_path / 'nothing') == ([], [])
