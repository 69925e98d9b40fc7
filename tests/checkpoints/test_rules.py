"""How layouts are written down."""

import pytest
import torch

from beit_mm.checkpoints.layouts.rules import Drop, convert
from beit_mm.contracts import UserError


def test_rules__first_match_of_a_whole_name_decides():
    state = {name: torch.tensor(i) for i, name in enumerate(['a.x', 'a.y', 'b', 'bb', 'c', 'd'])}
    rules = {
        r'a\.y': Drop('not needed'),
        r'a\.(.+)': r'new.\1',
        'b': ['b1', 'b2'],
        'c': lambda match: match[0].upper(),
        'd': None,
        '(?:d|bb)': 'never',
    }
    conversion = convert(state, {**rules, 'bb': None}, 'no place')
    assert conversion.finish().result == {'new.x': 0, 'b1': 2, 'b2': 2, 'never': 3, 'C': 4}
    whys = {line.sources[0]: line.why for line in conversion.lines if line.what == 'dropped'}
    assert whys == {'a.y': 'not needed', 'd': 'no place'}


def test_rules__are_about_the_alias():
    conversion = convert({'Old.x': torch.ones(1)}, {r'old\.(.)': r'\1'}, '', alias=str.lower)
    assert list(conversion.result) == ['x']


def test_rules__what_is_left_to_the_caller_has_to_be_dealt_with():
    conversion = convert({'a': torch.ones(1)}, {'a': ...}, '')
    with pytest.raises(AssertionError, match='not accounted for'):
        conversion.finish()
    conversion.join(['a'], 'b', torch.ones(1))
    assert list(conversion.finish().result) == ['b']


def test_rules__two_tensors_of_one_name_are_refused():
    with pytest.raises(UserError, match='are c in the result'):
        convert({'a': torch.ones(1), 'b': torch.ones(1)}, {'[ab]': 'c'}, '')
