"""The wheel has what its user needs, and works where nothing of the checkout is left."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

import beit_mm
from beit_mm.named_configs import link_checkout

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/segmentation/beit-micro-p8_scratch_setr-naive_digit-scenes-500.py'


def pip(*arguments, cwd):
    command = [sys.executable, '-m', 'pip', '--disable-pip-version-check', *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """The files of the checkout, beside leftovers that must stay outside of the wheel."""
    source = tmp_path_factory.mktemp('source') / 'beit_mm'
    unwanted = shutil.ignore_patterns(
        *('.*', '__pycache__', '*.egg-info', 'build', 'dist', 'data', 'work_dirs')
    )
    shutil.copytree(ROOT, source, ignore=unwanted)
    leftovers = ['work_dirs/run/iter_1.pth', 'data/x/0.png', 'tools/__pycache__/train.pyc']
    for leftover in (*leftovers, 'scratch/__init__.py'):
        (source / leftover).parent.mkdir(parents=True, exist_ok=True)
        (source / leftover).touch()
    link_checkout(source / 'beit_mm')  # as an import of it does
    assert (source / 'beit_mm/.mim/configs').is_symlink()
    return source


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    pip('wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w', out, '.', cwd=source)
    (path,) = out.glob('*.whl')
    return path


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp('site')
    pip('install', '--no-deps', '--no-index', '--target', target, wheel, cwd=target)
    return target


def names(folder: Path, *patterns: str) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for pattern in patterns
        for path in folder.rglob(pattern)
        if '__pycache__' not in path.parts
    }


def test_the_wheel_has_the_package_configs_and_tools_and_no_more(source, wheel):
    inside = {name for name in ZipFile(wheel).namelist() if '.dist-info/' not in name}
    expected = {f'beit_mm/{name}' for name in names(source / 'beit_mm', '*.py', '*.jinja')}
    expected |= {
        f'beit_mm/.mim/configs/{name}' for name in names(source / 'configs', '*.py', '*.yml')
    }
    expected.add('beit_mm/.mim/model-index.yml')
    tools = names(source / 'tools', '*.py', '*.sh')
    of_a_checkout = {'quickstart.py', 'quickstart.sh', 'setup_env.sh'}
    assert of_a_checkout <= tools
    expected |= {f'beit_mm/.mim/tools/{name}' for name in tools - of_a_checkout}
    assert inside == expected
    assert f'beit_mm/.mim/{CONFIG}' in inside and 'beit_mm/.mim/tools/dist_train.sh' in inside


def test_the_source_archive_has_what_setup_reads(source, wheel, tmp_path):
    code = f'from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})'
    subprocess.run([sys.executable, '-c', code], cwd=source, check=True, capture_output=True)
    (path,) = tmp_path.glob('*.tar.gz')
    members = tarfile.open(path).getnames()
    inside = {name.split('/', 1)[1] for name in members if '/' in name}
    assert not [n for n in inside if re.match(r'tests|work_dirs|data|docs|\.', n) or '.pyc' in n]
    packed = {name for name in ZipFile(wheel).namelist() if '.dist-info/' not in name}
    assert {name.replace('beit_mm/.mim/', '') for name in packed} <= inside
    names = ('runtime', 'mminstall', 'digits', 'docs', 'tests')
    read = {f'requirements/{name}.txt' for name in names}
    assert read | {'LICENSE', 'setup.py'} <= inside


def test_metadata(wheel):
    archive = ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith('.dist-info/METADATA'))
    metadata = message_from_string(archive.read(name).decode())
    assert metadata['Version'] == beit_mm.__version__
    assert metadata['Name'] == 'beit_mm' and metadata['License'] == 'Apache-2.0'
    assert any(name.endswith('/LICENSE') for name in archive.namelist())
    requirements = [Requirement(text) for text in metadata.get_all('Requires-Dist')]
    needed = {r.name: r.specifier for r in requirements if r.marker is None}
    assert {'torch', 'numpy', 'opencv-python', 'pillow', 'onedl-mmengine', 'onedl-mmcv'} <= set(
        needed
    )
    assert not {'torchvision', 'onedl-mmpretrain', 'onedl-mmsegmentation'} & set(needed)
    for extra in ('mmpretrain', 'mmseg'):
        allowed = dict(extra=extra)
        needed.update(
            (r.name, r.specifier) for r in requirements if r.marker and r.marker.evaluate(allowed)
        )
    # What is pinned as tested is what an installation allows, and what runs here.
    pinned = (ROOT / 'requirements' / 'runtime.txt').read_text()
    pinned += (ROOT / 'requirements' / 'mminstall.txt').read_text()
    tested = dict(re.findall(r'^([\w-]+)==(\S+)$', pinned, re.MULTILINE))
    assert set(needed) <= set(tested)
    for package, version in tested.items():
        assert needed[package].contains(version), package
    extra = {r.name for r in requirements if r.marker and r.marker.evaluate(dict(extra='tested'))}
    assert extra == set(tested)


def test_installed_package_finds_its_configs_and_tools(installed, tmp_path):
    """From another folder, with nothing but the installation on the path of its modules."""
    code = """
        import beit_mm
        from pathlib import Path
        from beit_mm.cli.config_loading import load_config
        mim = Path(beit_mm.__file__).parent / '.mim'
        print(mim)
        print(load_config(mim / '{config}').model.decode_head.num_classes)
        from mmengine.hub import get_config
        print(get_config('beit_mm::{config}'.replace('configs/', '')).filename)
    """
    script = tmp_path / 'script.py'
    script.write_text('\n'.join(line.strip() for line in code.format(config=CONFIG).splitlines()))
    environment = dict(os.environ, PYTHONPATH=str(installed))
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    mim = installed / 'beit_mm' / '.mim'
    assert done.stdout.split() == [str(mim), '11', str(mim / CONFIG)], done.stderr


@pytest.mark.parametrize(
    ('tool', 'verb', 'arguments', 'expected'),
    [
        ('print_config.py', 'print_config', [f'{{mim}}/{CONFIG}'], "default_scope = 'mmseg'"),
        ('dataset_converters/tiles.py', 'make_tiles', ['--help'], '--masks MASKS OUT_MASKS'),
    ],
)
def test_installed_tool_takes_the_package_beside_it(
    installed, tmp_path, tool, verb, arguments, expected
):
    """Without any help by PYTHONPATH, and not another beit_mm that can be imported as well."""
    module = installed / 'beit_mm' / 'cli' / f'{verb}.py'
    module.open('a').write("\nprint('the installed one')\n")
    mim = installed / 'beit_mm' / '.mim'
    environment = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    command = [sys.executable, mim / 'tools' / tool, *(a.format(mim=mim) for a in arguments)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('the installed one\n')
    assert expected in done.stdout
