import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from beit_mm.visualization.figures.canvas import new_figure, to_pixels, to_svg

SVG = '{http://www.w3.org/2000/svg}'


@pytest.mark.parametrize('size', [(1, 1), (333, 7), (96, 1000)])
def test_to_pixels__has_the_size_that_was_asked_for(size):
    picture = to_pixels(new_figure(*size))
    assert picture.shape == (*size[::-1], 3) and picture.dtype == np.uint8
    assert (picture == 255).all()


def test_to_svg__text_stays_text_and_documents_are_reproducible():
    figures = [new_figure(80, 20) for _ in range(2)]
    for figure in figures:
        figure.text(0.5, 0.5, 'b & c')
    first, second = map(to_svg, figures)
    assert first == second
    assert [text.text for text in ElementTree.fromstring(first).iter(SVG + 'text')] == ['b & c']


def test_matplotlib__is_not_loaded_before_something_is_drawn():
    code = (
        'import sys, beit_mm.visualization as v, numpy as np; '
        'before = "matplotlib" in sys.modules; v.usage_histogram(np.ones(3, int)); '
        'print(before, "matplotlib" in sys.modules, "matplotlib.pyplot" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.split() == ['False', 'True', 'False'], done.stderr
