import pytest
import torch

from beit_mm.checkpoints import LAYOUTS, Conversion


def source():
    return dict(a=torch.zeros(2), b=torch.ones(2), c=torch.ones(4))


def test_report__has_one_line_for_every_source_tensor():
    conversion = Conversion(source())
    conversion.move('a', 'a')
    conversion.split('c', dict(c1=torch.ones(2), c2=torch.ones(2)))
    conversion.drop('b', 'not asked for')
    conversion.make('d', torch.ones(1), 'needed there')
    conversion.finish()
    assert conversion.counts() == dict(copied=1, split=1, dropped=1, made=1)
    assert set(conversion.result) == {'a', 'c1', 'c2', 'd'}
    assert 'dropped: b (not asked for)' in conversion.summary()
    rows = conversion.table().splitlines()
    assert [row.split()[:2] for row in rows] == [
        ['copied', 'a'],
        ['split', 'c'],
        ['dropped', 'b'],
        ['made', '-'],
    ]


def test_report__a_forgotten_tensor_and_one_told_twice_are_found():
    conversion = Conversion(source())
    conversion.move('a', 'x')
    conversion.move('b', 'y')
    with pytest.raises(AssertionError, match="'c'"):
        conversion.finish()
    conversion.move('c', 'z')
    conversion.drop('a', 'twice')
    with pytest.raises(AssertionError, match="'a'"):
        conversion.finish()


def test_two_tensors_of_one_name__are_an_error():
    conversion = Conversion(source())
    conversion.move('a', 'x')
    with pytest.raises(ValueError, match='are x in the result'):
        conversion.move('b', 'x')


@pytest.mark.parametrize('layout', sorted(LAYOUTS))
def test_unknown_tensors__are_dropped_with_a_reason_or_kept(layout):
    """Whatever else a file holds, no layout loses it without a word."""
    state = {'something.else': torch.ones(1), 'backbone.cls_token': torch.ones(1, 1, 2)}
    for convert in (LAYOUTS[layout].to_ours, lambda s: LAYOUTS[layout].from_ours(s, 'backbone')):
        conversion = convert(state)
        told = [line for line in conversion.lines if 'something.else' in line.sources]
        assert len(told) == 1 and (told[0].why or told[0].targets)
