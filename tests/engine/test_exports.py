import pytest
from mmengine.registry import Registry

import beit_mm.engine as engine
from beit_mm import registry


def registered() -> list[type]:
    """Classes of this room, of every registry."""
    registries = [value for value in vars(registry).values() if isinstance(value, Registry)]
    classes = [cls for one in registries for cls in one.module_dict.values()]
    return [cls for cls in classes if cls.__module__.startswith('beit_mm.engine.')]


def test_every_kind_is_there():
    names = {cls.__name__ for cls in registered()}
    assert names >= {
        'AtomicCheckpointHook',
        'AutocastOptimWrapper',
        'BEiTOptimWrapperConstructor',
        'CodebookGuardHook',
        'LoadReportHook',
        'ResumableEpochLoop',
    }


@pytest.mark.parametrize('cls', registered(), ids=lambda cls: cls.__name__)
def test_import__of_what_is_registered(cls):
    assert getattr(engine, cls.__name__) is cls
