"""The demo page: driven in Chromium, where it and gradio are there."""

import importlib.util

import checkpoints_of_models as made
import pytest
from headless import CHROMIUM, Headless

from beit_mm import load_model
from beit_mm.cli.demo import Page
from beit_mm.contracts import MissingPackageError, packages

TAB = "[...document.querySelectorAll('button[role=tab]')].find(e => e.innerText == '{}').click()"
PICTURE = (
    '(() => {{ const box = [...document.querySelectorAll("label")].find(e => '
    'e.innerText.includes("{}") && e.offsetParent).closest(".block"); return '
    'box.querySelector("img") }})()'
)


def test_without_gradio(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(packages, 'import_module', missing)
    made.saved(made.tokenizer(), tmp_path / 'a.pth')
    with pytest.raises(MissingPackageError, match=r'pip install "beit_mm\[demo\]"'):
        Page(load_model(tmp_path / 'a.pth'))


@pytest.mark.slow
@pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec('gradio') is None, reason='no Chromium or gradio'
)
def test_page__asks_the_model_and_nobody_else(tmp_path):
    made.saved(made.pretraining(), tmp_path / 'a.pth')
    (image,) = made.write_images(tmp_path, sizes=[(40, 48)])
    page = Page(load_model(tmp_path / 'a.pth'))
    address = page.launch()
    try:
        with Headless(tmp_path / 'profile') as browser:
            browser.go(address)
            browser.wait("document.querySelector('input[type=file]') !== null")
            browser.give_file('input[type=file]', image)
            browser.wait("document.body.innerText.includes('masked tokens are right')")
            before = browser.wait(PICTURE.format('What the model sees') + '?.src')
            place = f'({PICTURE.format("What the model sees")}).getBoundingClientRect()'
            browser.click(*(browser.run(f'{place}.{side} + 20') for side in ('left', 'top')))
            browser.wait(
                f'({PICTURE.format("What the model sees")}?.src ?? {before!r}) != {before!r}'
            )
            browser.run(TAB.format('Tokens'))
            browser.wait("document.body.innerText.includes('different ones of 16')")
            browser.run(TAB.format('Attention'))
            browser.wait(f'!!({PICTURE.format("mean of the heads")})')
            for width in (390, 1280):
                browser.resize(width, 900)
                assert browser.run('document.documentElement.scrollWidth') <= width
            strangers = [url for url in browser.requests if '//' in url and address not in url]
            assert [url for url in strangers if not url.startswith(('data:', 'blob:'))] == []
    finally:
        page.blocks.close()
