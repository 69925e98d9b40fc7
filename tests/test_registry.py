import subprocess
import sys
from pathlib import Path

import mmengine.registry
import mmpretrain.registry
import mmpretrain.utils
import mmseg.registry
import mmseg.utils
import pytest
from mmengine.registry import Registry

import beit_mm.datasets  # noqa: F401
import beit_mm.engine  # noqa: F401
import beit_mm.evaluation  # noqa: F401
import beit_mm.models  # noqa: F401
from beit_mm import registry

ROOT = Path(registry.__file__).parent


def registries(module) -> dict[str, Registry]:
    return {name: r for name, r in vars(module).items() if isinstance(r, Registry)}


# They extend mmcv's class of this name, which a config got before, and give the same results.
DROP_INS = {'LoadImageFromFile', 'RandomFlip'}
OURS, ROOTS = registries(registry), registries(mmengine.registry)


def test_every_root_registry__has_one_child_of_ours():
    assert OURS.keys() == ROOTS.keys()
    for name, child in OURS.items():
        assert child.parent is ROOTS[name] and child.scope == 'beit_mm'
        assert child.name == ROOTS[name].name


def test_locations__are_packages_of_ours():
    for child in OURS.values():
        (location,) = child._locations
        package, folder = location.split('.')
        assert package == 'beit_mm' and (ROOT / folder / '__init__.py').is_file()


def own_names(child) -> set[str]:
    """What the package registers, without what tests have added."""
    return {
        name
        for name, item in child.module_dict.items()
        if getattr(item, '__module__', '').startswith('beit_mm.')
    }


def test_names__exist_in_no_other_library():
    """A forgotten prefix must not build another library's class."""
    for library in (mmpretrain, mmseg):
        library.utils.register_all_modules(init_default_scope=False)
    libraries = {m.__name__: registries(m) for m in (mmpretrain.registry, mmseg.registry)}
    libraries['mmengine.registry'] = ROOTS
    total = 0
    for name, child in OURS.items():
        mine = own_names(child)
        total += len(mine)
        for library, theirs in libraries.items():
            if name in theirs:
                both = mine & theirs[name].module_dict.keys()
                assert both <= DROP_INS, f'{library}.{name}'
                for twin in both:
                    assert issubclass(child.module_dict[twin], ROOTS[name].module_dict[twin])
    assert total > 15
    for name in ('MODELS', 'TRANSFORMS', 'DATASETS', 'HOOKS', 'METRICS'):
        assert own_names(OURS[name]), name
        for library, theirs in libraries.items():
            assert theirs[name].module_dict, f'{library}.{name}'


@pytest.mark.parametrize('name', sorted(OURS))
def test_classes__are_in_files_named_after_them(name):
    for class_name in own_names(OURS[name]):
        item = OURS[name].module_dict[class_name]
        assert item.__name__ == class_name
        stem = item.__module__.rsplit('.', 1)[1].replace('_', '')
        pair = class_name.replace('Encoder', 'Autoencoder').replace('Decoder', 'Autoencoder')
        assert stem in (class_name.lower().replace('_', ''), pair.lower())


FOREIGN_SCOPE = """
import sys
import beit_mm  # as the tools do
from mmengine.registry import HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS
from mmengine.registry import init_default_scope

init_default_scope('mmpretrain')
assert 'beit_mm.models' not in sys.modules
neck = MODELS.build(dict(type='beit_mm.PatchMeanNeck', dims=4))
assert 'beit_mm.evaluation' not in sys.modules  # only the place that is looked into
constructor = dict(type='beit_mm.BEiTOptimWrapperConstructor', optim_wrapper_cfg={})
built = [
    neck,
    METRICS.build(dict(type='beit_mm.MaskedTokenAccuracy')),
    TRANSFORMS.build(dict(type='beit_mm.PackMIMInputs')),
    HOOKS.build(dict(type='beit_mm.AttributeScheduleHook', schedules={})),
    OPTIM_WRAPPER_CONSTRUCTORS.build(constructor),
]
assert [type(b).__module__.split('.')[0] for b in built] == ['beit_mm'] * 5
assert MODELS.get('PatchMeanNeck') is None  # without the prefix the scope's own names count
"""


def test_classes__found_by_prefix_from_another_scope_without_custom_imports():
    done = subprocess.run(
        [sys.executable, '-c', FOREIGN_SCOPE], capture_output=True, text=True, cwd=ROOT.parent
    )
    assert done.returncode == 0, done.stderr[-2000:]
