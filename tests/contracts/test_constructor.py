import pytest

from beit_mm.contracts.constructor import constructor_parameters


class Parent:
    def __init__(self, a, b=1): ...


class HandsOn(Parent):
    def __init__(self, c=2, **kwargs):
        super().__init__(**kwargs)


class HandsOnByName(HandsOn):
    def __init__(self, d=3, **others):
        HandsOn.__init__(self, c=5, **others)


class Pops(Parent):
    def __init__(self, **kwargs):
        self.x = kwargs.pop('x', None)
        super().__init__(**kwargs)


class Builds(Parent):
    def __init__(self, a, **part):
        super().__init__(a)
        self.part = dict(**part)


class PassesOver(Parent):
    def __init__(self, a, **kwargs):
        super().__init__(a)


class Below(Builds):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    'cls, names, takes_any',
    [
        (Parent, 'ab', False),
        (HandsOn, 'abc', False),
        (HandsOnByName, 'abcd', False),
        (Pops, 'ab', True),
        (Builds, 'ab', True),
        (PassesOver, 'ab', True),
        (Below, 'ab', True),
        (dict, '', True),
    ],
)
def test_parameters__of_a_parent_where_they_are_handed_on_alone(cls, names, takes_any):
    found, any_name = constructor_parameters(cls)
    assert (''.join(sorted(found)), any_name) == (names, takes_any)
