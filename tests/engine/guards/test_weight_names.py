from beit_mm.engine.guards.weight_changes import grouped

ALL = ['a.x.w', 'a.x.b', 'a.y.w', 'ab.w', 'c']


def test_grouped__whole_modules_by_their_name():
    assert grouped(['a.x.w', 'a.x.b'], ALL) == ['a.x (2 tensors)']
    assert grouped(['a.x.w', 'a.x.b', 'a.y.w', 'c'], ALL) == ['a (3 tensors)', 'c']
    assert grouped(['a.x.w'], ALL) == ['a.x.w']
    assert grouped([], ALL) == []


def test_grouped__a_prefix_of_a_name_is_no_module():
    assert grouped(['a.x.w', 'a.x.b', 'a.y.w'], ALL) == ['a (3 tensors)']
    assert grouped(['ab.w'], ALL) == ['ab.w']
