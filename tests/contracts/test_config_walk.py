from beit_mm.contracts.config_walk import entries, walk_values


def test_entries__of_one_or_a_list():
    assert [*entries('a', 'key')] == [('key', 'a')]
    assert [*entries(['a', 'b'], 'key')] == [('key.0', 'a'), ('key.1', 'b')]
    assert [*entries([], 'key')] == []


def test_values__what_is_around_a_value_comes_before_it():
    config = dict(a=[dict(b=1), 2], c='text')
    assert [place for place, _ in walk_values(config)] == ['a', 'a.0', 'a.0.b', 'a.1', 'c']
    assert dict(walk_values(config, 'model'))['model.a.0.b'] == 1
    assert [*walk_values('text')] == []
