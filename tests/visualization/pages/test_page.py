"""The page is one file, its text cannot become markup, and nothing in it is wider than a phone."""

import base64
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import cv2
import numpy as np

from beit_mm.visualization import png_source, render_page, svg_source

EVIL = '<script>alert("x")</script> & \'"'
LONG = 'very_long_name_without_a_space/' * 20


def section(**changes):
    image = png_source(np.full((4, 6, 3), (200, 10, 30), np.uint8))
    content = dict(
        heading=EVIL, note=EVIL, titles=[EVIL, LONG], rows=[[image, image]], legend=[], figure=None
    )
    return SimpleNamespace(**{**content, 'table': [], **changes})


def page(text=EVIL, **changes):
    content = dict(
        title=text,
        subtitle=text,
        verdicts=[SimpleNamespace(mark='good', text=text)],
        table=[[text, text], [text, LONG]],
        curves={text: {text: svg_source('<svg xmlns="http://www.w3.org/2000/svg"/>')}},
        shared=[section(legend=[(text, (1, 2, 3))])],
        runs=[
            dict(
                name=text,
                facts=[(text, LONG, False), (text, text, True)],
                metrics=[[text] * 4, [text] * 4],
                sections=[section(figure=svg_source('<svg/>'), table=[[text], [text]])],
                guards=[text],
                notes=[text],
            )
        ],
        steps=[(text, text), (text, '')],
    )
    return render_page(**{**content, **changes})


def body_of(text):
    return ElementTree.fromstring(text[text.index('<body>') : text.index('</html>')])


def test_text__is_escaped_everywhere():
    """The page is well-formed with it, has no element of it, and shows each place of it."""
    assert '<script' not in page()
    evil, tame = body_of(page()), body_of(page(text='tame'))
    assert [element.tag for element in evil.iter()] == [element.tag for element in tame.iter()]
    shown = ''.join(evil.itertext())
    assert shown.count(EVIL) >= 20
    assert {element.get('alt') for element in evil.iter('img')} >= {EVIL, f'{EVIL}: {EVIL}'}


def test_page__needs_no_other_file():
    text = page()
    sources = [image.get('src') for image in body_of(text).iter('img')]
    assert len(sources) == 6 and all(source.startswith('data:image/') for source in sources)
    assert not re.search(r'(?:src|href)="(?!data:|#)', text)
    assert 'url(' not in text and '@import' not in text and '<link' not in text


def test_images__are_as_given_and_large_ones_shrink():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)

    def read(source):
        content = np.frombuffer(base64.b64decode(source.split(',')[1]), np.uint8)
        return cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1]

    np.testing.assert_array_equal(read(png_source(image)), image)
    assert read(png_source(np.zeros((2000, 1000, 3), np.uint8))).shape == (480, 240, 3)


def test_page__guarantees_the_width_of_a_phone():
    """Words break anywhere, columns share the width, and no size in it is wider than 390 pixels."""
    text = page()
    assert '<meta name="viewport" content="width=device-width, initial-scale=1"/>' in text
    style = re.search(r'<style>(.*?)</style>', text, re.DOTALL)[1]
    rules = dict(re.findall(r'([^{}]+?)\s*\{([^{}]*)\}', style))
    rules = {selector.strip(): rule for selector, rule in rules.items()}
    assert 'min-width: 0' in rules['*'] and 'overflow-wrap: anywhere' in rules['*']
    assert 'max-width: 100%' in rules['img'] and 'table-layout: fixed' in rules['table']
    assert 'white-space: pre-wrap' in rules['pre']
    for selector, rule in rules.items():
        assert 'nowrap' not in rule and 'px' not in re.sub(r'1px|16px', '', rule), selector
        for width in re.findall(r'(?<!max-)width: ([\d.]+)rem', rule):
            assert float(width) * 16 < 50, selector
        for least in re.findall(r'minmax\((.+?), 1fr\)', rule):
            assert least.startswith('min(100%, '), selector


def test_parts__that_are_missing_leave_no_heading():
    text = page(text='x', table=[], curves={}, shared=[], steps=[])
    headings = [element.text for element in body_of(text).iter('h2')]
    assert headings == ['Verdict', 'x']
