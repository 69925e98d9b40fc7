import pytest

from beit_mm.contracts import UserError, check_choice, check_integers


@pytest.mark.parametrize('value', [0, 1.5, '2', None])
def test_integers__are_whole_and_large_enough(value):
    with pytest.raises(UserError, match=r'Plugin.size=.*: expected an integer >= 1'):
        check_integers('Plugin', 1, width=3, size=value)
    check_integers('Plugin', 1, width=3, size=1)


@pytest.mark.parametrize('value', ['c', 'ab', None, ['a'], {}])
def test_choice__is_one_of_the_known_ones(value):
    with pytest.raises(UserError, match=r"Plugin.mode=.*: expected one of \('a', 'b'\)"):
        check_choice('Plugin', dict(a=1, b=2), mode=value)
    check_choice('Plugin', ('a', None), mode='a', other=None)
