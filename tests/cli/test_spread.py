from beit_mm.cli.spread import spread


def test_spread__sorted_data_sets_show_all_their_classes():
    assert spread(3, 256) == [0, 1, 2]
    assert spread(10, 4) == [0, 3, 6, 9]
    assert spread(0, 4) == []
    places = spread(1000, 32)
    assert len(set(places)) == 32 and {place // 250 for place in places} == {0, 1, 2, 3}
