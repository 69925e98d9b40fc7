"""--cfg-options: any text is a value or a message, never a traceback."""

import argparse
import contextlib
import io

import pytest
from fuzzing import prop
from hypothesis import strategies as st
from mmengine.config import Config

from beit_mm.cli.config_options import ConfigOptions, merge_options

words = st.text('abcxyz_', min_size=1, max_size=6)
numbers = st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6, allow_nan=False)
names = st.lists(words | st.sampled_from(['3', 'a(1)', '(x)', '-']), min_size=2, max_size=4)
texts = words | names.map(lambda parts: '/' + ' '.join(parts))  # paths with spaces, for example
plain = numbers | st.booleans() | texts.filter(lambda w: w.lower() not in ('true', 'false'))
values = plain | st.lists(plain, min_size=1, max_size=4).map(lambda v: [*v])
keys = st.lists(words, min_size=1, max_size=3).map('.'.join)


def parse(*texts):
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *texts]).cfg_options


def written(value) -> str:
    if isinstance(value, list):
        return '[' + ','.join(map(written, value)) + ']'
    return str(value)


@prop(few=50, options=st.dictionaries(keys, values, min_size=1, max_size=4))
def test_values__come_back(options):
    parsed = parse(*(f'{key}={written(value)}' for key, value in options.items()))
    assert parsed == options
    for key, value in options.items():
        assert type(parsed[key]) is type(value)


text = st.text('ab=.,()[]{}"\' 01-_\\', max_size=12) | st.text(max_size=8)


@prop(few=50, texts=st.lists(text, min_size=1, max_size=3))
def test_any_text__a_value_or_a_message(texts):
    texts = [t for t in texts if not t.startswith('-')] or ['a=1']
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed = parse(*texts)
    except SystemExit as error:
        assert error.code == 2 and '--cfg-options' in said.getvalue()
        return
    config = Config(dict(a=dict(b=[1, dict(c=2)], d=3), x='text'))
    before = config.to_dict()
    try:
        merge_options(config, parsed)
    except ValueError as error:
        assert '--cfg-options' in str(error)
        assert config.to_dict() == before


@prop(
    few=40,
    key=st.sampled_from(['a.b.0', 'a.b.1.c', 'a.b.7.c', 'a.d.e', 'x.y', 'a', 'a.b', 'n.m', 'a.d']),
    value=values,
)
def test_merge__that_place_and_no_other(key, value):
    config = Config(dict(a=dict(b=[1, dict(c=2)], d=3), x='text'))
    before = config.to_dict()
    try:
        merge_options(config, {key: value})
    except ValueError as error:
        assert key in str(error)
        return
    place, left, right = config.to_dict(), before, config.to_dict()
    for part in key.split('.'):
        place = place[int(part) if part.isdigit() else part]
    assert place == value
    top = key.split('.')[0]
    assert {k: v for k, v in left.items() if k != top} == {
        k: v for k, v in right.items() if k != top
    }


@pytest.mark.parametrize('text', ['a=),(', 'a=[),(', 'a=],['])
def test_brackets_that_do_not_match__are_said(text, capsys):
    with pytest.raises(SystemExit):
        parse(text)
    assert 'bracket' in capsys.readouterr().err
