import pytest

from beit_mm.cli.config_loading import load_config
from beit_mm.contracts import UserError


def test_config__bases_and_options(tmp_path):
    (tmp_path / 'base.py').write_text('a = dict(b=1, c=[1, 2])\n')
    (tmp_path / 'leaf.py').write_text("_base_ = ['./base.py']\na = dict(d=3)\n")
    config = load_config(tmp_path / 'leaf.py', {'a.b': 5, 'e.f': 'g'})
    assert config.to_dict() == dict(a=dict(b=5, c=[1, 2], d=3), e=dict(f='g'))


def test_config__missing(tmp_path):
    with pytest.raises(UserError, match='no config file .*nothing.py'):
        load_config(tmp_path / 'nothing.py')
    (tmp_path / 'leaf.py').write_text("_base_ = './gone.py'\n")
    (tmp_path / 'top.py').write_text("_base_ = ['leaf.py']\n")
    with pytest.raises(UserError, match=r"leaf\.py: _base_ names './gone\.py'"):
        load_config(tmp_path / 'top.py')


def test_config__custom_imports_that_are_not_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'leaf.py').write_text("custom_imports = dict(imports=['no_plugin.heads'])\n")
    (tmp_path / 'no_plugin').mkdir()
    (tmp_path / 'no_plugin/__init__.py').touch()
    with pytest.raises(
        UserError, match=r"leaf\.py: custom_imports has 'no_plugin.heads'.*PYTHONPATH"
    ):
        load_config(tmp_path / 'leaf.py')
    (tmp_path / 'other.py').write_text("custom_imports = dict(imports='no_such_package.models')\n")
    with pytest.raises(UserError, match="there is no module 'no_such_package'; install its pack"):
        load_config(tmp_path / 'other.py')
    (tmp_path / 'no_plugin/heads.py').write_text('import no_such_package\n')
    with pytest.raises(ImportError, match='custom modules'):  # of the plugin: its traceback says it
        load_config(tmp_path / 'leaf.py')


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a = dict(b=1, b=2)', r'leaf\.py, line 1: keyword argument repeated'),
        ("_base_ = ['./base.py'] + ['./broken.py']", r"broken\.py, line 1: '\(' was never closed"),
        ("_base_ = './base.py'\na = dict(b=gone)", r"leaf\.py, line 2: NameError: name 'gone'"),
        ("_base_ = './base.py'\na = _base_.x.y", r"leaf\.py, line 2: AttributeError: .* 'x'"),
        ("_base_ = './base.py'\na = {{_base_.x.y}}", r'leaf\.py: KeyError: x'),
        ("_base_ = './base.py'\na = dict(b=dict(c=1))", r'leaf\.py: TypeError: b=.*_delete_=True'),
        ("_base_ = ['./base.py', './same.py']", r'leaf\.py: KeyError: Duplicate key'),
        (
            "_base_ = './leaf.py'",
            r'leaf\.py: _base_ names .*leaf\.py, which has this file as a base',
        ),
        ("_base_ = [f'./{name}.py' for name in ('base', 'gone')]", r"_base_ names './gone\.py'"),
        ("_base_ = './base.py'\nimport no_such_module", r'leaf\.py, line 2: ModuleNotFoundError'),
        ('a = "\udcff"', r"leaf\.py: 'utf-8' codec"),
    ],
)
def test_config__what_is_wrong_names_its_file(text, message, tmp_path):
    for name in ('base', 'same'):
        (tmp_path / f'{name}.py').write_text('a = dict(b=[1])\n')
    (tmp_path / 'broken.py').write_text("a = dict(type='X'\n")
    leaf = tmp_path / 'leaf.py'
    leaf.write_bytes(text.encode('utf-8', 'surrogateescape'))
    with pytest.raises(UserError, match=message) as error:
        load_config(leaf)
    assert str(tmp_path) in str(error.value)


def test_config__an_error_of_another_module_keeps_its_traceback(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'my_module_with_a_defect.py').write_text('1 / 0\n')
    (tmp_path / 'base.py').write_text('a = 1\n')
    text = "_base_ = './base.py'\nimport my_module_with_a_defect\n"
    (tmp_path / 'leaf.py').write_text(text)
    with pytest.raises(ZeroDivisionError):
        load_config(tmp_path / 'leaf.py')


def test_config__a_syntax_error_deep_in_the_bases_names_file_and_line(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'root.py').write_text('a = 1\nb = dict(c=2\n')
    (tmp_path / 'sub' / 'middle.py').write_text("_base_ = ['root.py']\n")
    (tmp_path / 'other.py').write_text('x = 1\n')
    (tmp_path / 'leaf.py').write_text("_base_ = ['other.py', './sub/middle.py']\n")
    with pytest.raises(UserError, match=r'root\.py, line 2: .*never closed.*b = dict\(c=2'):
        load_config(tmp_path / 'leaf.py')


HOSTILE = [
    '!!python/object/apply:os.system ["touch {marker}"]',
    '!!python/object/new:os.system ["touch {marker}"]',
    '!!python/name:os.system',
    '!!python/module:os',
    '!!python/object/apply:builtins.exec ["open({marker!r}, \'w\')"]',
    '!!python/object:argparse.Namespace {{a: 1}}',
    '!ours {{a: 1}}',
]


@pytest.mark.parametrize('text', HOSTILE)
@pytest.mark.parametrize('place', ['config.yaml', 'config.yml', 'base.yml'])
def test_yaml__is_data_alone(text, place, tmp_path):
    marker = tmp_path / 'marker'
    (tmp_path / place).write_text('model:\n  type: ' + text.format(marker=str(marker)) + '\n')
    path = tmp_path / place
    if place == 'base.yml':
        path = tmp_path / 'config.py'
        path.write_text("_base_ = './base.yml'\n")
    with pytest.raises(UserError, match='config.*, or a base of it: .*YAML is read as plain data'):
        load_config(path)
    assert not marker.exists()


def test_yaml__of_plain_data_with_bases_and_of_our_own_writing(tmp_path):
    (tmp_path / 'base.yaml').write_text('model: {type: A, size: [1, 2]}\nlr: 1e-3\n')
    (tmp_path / 'config.yml').write_text('_base_: ./base.yaml\nmodel: {depth: 3}\n')
    config = load_config(tmp_path / 'config.yml')
    assert config.model == dict(type='A', size=[1, 2], depth=3)
    config.model.size = (4, (5, 6))
    config.dump(tmp_path / 'written.yml')  # tuples have a tag
    assert load_config(tmp_path / 'written.yml').model.size == (4, (5, 6))


@pytest.mark.parametrize('text', ['a: [1', 'a: b: c', '\t- x', '@'])
def test_yaml__that_is_not_valid(text, tmp_path):
    (tmp_path / 'config.yml').write_text(text)
    with pytest.raises(UserError, match='config.yml'):
        load_config(tmp_path / 'config.yml')


def test_default_hooks__of_ours_are_removed_by_none(tmp_path):
    (tmp_path / 'leaf.py').write_text(
        "default_hooks = dict(codebook_guard=dict(type='beit_mm.CodebookGuardHook'), "
        "update_guard=None, logger=dict(type='LoggerHook'), timer=None)\n"
    )
    hooks = load_config(tmp_path / 'leaf.py', {'default_hooks.codebook_guard': None}).default_hooks
    assert dict(hooks) == dict(logger=dict(type='LoggerHook'), timer=None)


def test_options_of_workers__are_left_out_where_there_are_none(tmp_path):
    (tmp_path / 'leaf.py').write_text(
        'train_dataloader = val_dataloader = dict(num_workers=2, persistent_workers=True, '
        'prefetch_factor=4, batch_size=3)\n'
    )
    config = load_config(tmp_path / 'leaf.py', {'val_dataloader.num_workers': 0})
    assert config.train_dataloader.persistent_workers and config.train_dataloader.prefetch_factor
    assert dict(config.val_dataloader) == dict(num_workers=0, batch_size=3)


@pytest.mark.parametrize('levels', [6, 40])
def test_yaml__of_aliases_that_grow(tmp_path, levels):
    """A few hundred bytes that would be written out as 10 to the power of the levels."""
    lines = ['a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]']
    for level in range(1, levels):
        parts = ', '.join([f'*a{level - 1}'] * 10)
        lines.append(f'a{level}: &a{level} [{parts}]')
    (tmp_path / 'config.yml').write_text('\n'.join(lines))
    with pytest.raises(UserError, match='aliases make more than'):
        load_config(tmp_path / 'config.yml')
    (tmp_path / 'config.yml').write_text('a: &a {b: 1}\nc: *a\nd: [*a, *a]\n')
    assert load_config(tmp_path / 'config.yml').d == [dict(b=1), dict(b=1)]
