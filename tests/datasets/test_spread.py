from beit_mm.datasets.spread import spread, spread_over_classes


def test_spread__sorted_data_sets_show_all_their_classes():
    assert spread(3, 256) == [0, 1, 2]
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(0, 4) == []
    places = spread(1000, 32)
    assert len(set(places)) == 32 and {place // 250 for place in places} == {0, 1, 2, 3}


def test_spread_over_classes__as_many_of_each():
    labels = [0] * 100 + [1] * 50 + [2] * 3
    chosen = [labels[place] for place in spread_over_classes(labels, 60)]
    assert [chosen.count(label) for label in range(3)] == [20, 20, 3]
    many = [label for label in range(1000) for _ in range(20)]
    chosen = [many[place] for place in spread_over_classes(many, 200)]
    assert len(chosen) == 200 and len(set(chosen)) == 20 and {0, 999} <= set(chosen)
