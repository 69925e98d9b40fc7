import io

import numpy as np
import pytest

from beit_mm.visualization import draw_curves
from beit_mm.visualization.figures import curves

COLORS = [(31, 119, 180), (255, 127, 14)]


def where(picture, color=COLORS[0]):
    """(y, x) of the pixels that have nearly this color."""
    return np.argwhere(np.abs(picture.astype(int) - color).max(2) < 30)


def axes_of(monkeypatch, *args, **kwargs):
    figures = []
    monkeypatch.setattr(curves, 'to_pixels', figures.append)
    draw_curves(*args, **kwargs)
    return figures[0].axes


@pytest.mark.parametrize('size', [(420, 260), (300, 200)])
def test_a_line_falls_from_left_to_right(size):
    picture = draw_curves({'loss': {'a': ([0, 50, 100], [4.0, 3.0, 2.0])}}, size=size)
    assert picture.shape == (*size[::-1], 3) and picture.dtype == np.uint8
    y, x = where(picture).T
    slope, start = np.polyfit(x, y, 1)
    assert slope > 0.2 and np.abs(y - (slope * x + start)).max() <= 2
    assert np.ptp(x) > 0.7 * size[0] and np.ptp(y) > 0.5 * size[1]


def test_two_curves_share_their_axes_and_have_colors_and_names(monkeypatch):
    panel = {'loss': {'a': ([0, 10], [0.0, 0.0]), 'b': ([0, 10], [1.0, 1.0])}}
    picture = draw_curves(panel)
    rows = [np.median(where(picture, color)[:, 0]) for color in COLORS]
    assert rows[0] > rows[1] + 100  # 0 is below 1
    (axes,) = axes_of(monkeypatch, panel)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ['a', 'b']


def test_axes_are_labelled_and_one_curve_needs_no_legend(monkeypatch):
    panels = {f'panel {i}': {'a': ([0, 1], [i, i + 1])} for i in range(3)}
    axes = axes_of(monkeypatch, panels, columns=2, x_label='epoch')
    assert [a.get_ylabel() for a in axes] == ['panel 0', 'panel 1', 'panel 2']
    assert {a.get_xlabel() for a in axes} == {'epoch'}
    assert not any(a.get_legend() for a in axes)
    for number, a in enumerate(axes):
        assert a.get_ylim()[0] < number < number + 1 < a.get_ylim()[1]


def test_panels_stand_in_columns():
    panels = {f'panel {i}': {'a': ([0, 1], [0.0, 1.0])} for i in range(3)}
    picture = draw_curves(panels, columns=2, size=(200, 150))
    assert picture.shape == (300, 400, 3)
    quarters = [picture[y : y + 150, x : x + 200] for y in (0, 150) for x in (0, 200)]
    assert [len(where(q)) > 20 for q in quarters] == [True, True, True, False]


def test_one_point_is_a_dot():
    y, x = where(draw_curves({'loss': {'a': ([7], [3.0])}})).T
    assert len(y) > 4 and np.ptp(x) <= 8 and np.ptp(y) <= 8


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_a_gap(bad):
    values = [0.0, 0.0, bad, 1.0, 1.0, bad, 0.5]
    y, x = where(draw_curves({'loss': {'a': (range(7), values)}})).T
    step = np.ptp(x) / 6
    place = (x - x.min()) / step
    assert not ((place > 1.1) & (place < 2.9)).any()
    assert not ((place > 4.1) & (place < 5.8)).any()
    top, bottom = y.min(), y.max()
    assert np.abs(y[place < 1] - bottom).max() <= 3
    assert np.abs(y[(place > 3.1) & (place < 3.9)] - top).max() <= 3
    last = place > 5.8  # a dot
    assert last.any() and np.abs(y[last] - (top + bottom) / 2).max() <= 5


def test_nothing_to_draw_is_an_empty_frame():
    for points in ({}, {'a': ([], [])}, {'a': ([1, 2], [np.nan] * 2)}):
        assert not len(where(draw_curves({'loss': points})))


def test_levels_are_dashed_lines_with_names(monkeypatch):
    panels = {'loss': {'a': ([0, 10], [1.0, 2.0])}, 'other': {'a': ([0, 10], [1.0, 2.0])}}
    first, second = axes_of(monkeypatch, panels, levels={'loss': {'chance': 3.0}})
    line = first.get_lines()[-1]
    assert line.get_linestyle() == '--' and set(line.get_ydata()) == {3.0}
    assert [text.get_text() for text in first.get_legend().get_texts()] == ['a', 'chance']
    assert len(second.get_lines()) == 1 and second.get_legend() is None


@pytest.mark.parametrize('number', [2, 20])
def test_names_are_text_and_many_stand_outside_of_the_axes(number):
    names = [f'run_{n} $\\frac$ <b>' for n in range(number)]
    curves_of_names = {name: ([0, 1], [0.0, n]) for n, name in enumerate(names)}
    figure = curves.curves_figure({'$loss_{$': curves_of_names})
    figure.savefig(io.BytesIO())
    (axes,) = figure.axes
    legend = axes.get_legend() or figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == names
    legend, frame = legend.get_window_extent(), axes.get_window_extent()
    assert frame.overlaps(legend) == (number == 2) and frame.height > 40
    assert axes.xaxis.label.get_window_extent().y0 > legend.y1 or number == 2
    assert figure.bbox.containsx(legend.x0) and figure.bbox.containsx(legend.x1)
    looks = {(line.get_color(), line.get_linestyle()) for line in axes.get_lines()}
    assert len(looks) == min(number, 20)
