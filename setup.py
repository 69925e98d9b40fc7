import re
from pathlib import Path
from shutil import copytree, ignore_patterns

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Tools that set up and run a checkout.
CHECKOUT_ONLY = ('quickstart.*', 'make_report.py', 'setup_env.sh')


def read(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding='utf-8') if path.exists() else ''


def tested(name: str) -> list[str]:
    """The pinned requirements of requirements/{name}.txt."""
    lines = (line.strip() for line in read(f'requirements/{name}.txt').splitlines())
    return [line for line in lines if line and not line.startswith(('#', '-'))]


class build_with_configs(build_py):
    """Puts configs and tools into beit_mm/.mim, where OpenMMLab packages keep them."""

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install has them in the checkout
            for folder in ('configs', 'tools'):
                target = Path(self.build_lib, 'beit_mm', '.mim', folder)
                copytree(
                    ROOT / folder,
                    target,
                    ignore=ignore_patterns('__pycache__', *CHECKOUT_ONLY),
                    dirs_exist_ok=True,
                )


setup(
    name='beit_mm',
    version=re.search(r"__version__ = '(.+)'", read('beit_mm/__init__.py'))[1],
    description='BEiT from the images you have: tokenizer, masked image modeling, fine-tuning',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.11',
    packages=find_packages(include=['beit_mm', 'beit_mm.*']),
    package_data={'beit_mm.visualization.pages': ['*.jinja']},
    cmdclass={'build_py': build_with_configs},
    # What must be there. requirements/ pins what was tested.
    install_requires=[
        'torch>=2.7',  # its safe unpickler takes names of ours, see checkpoints/safe_globals.py
        'torchvision',
        'numpy',
        'opencv-python',
        'pillow',
        'tifffile',
        'matplotlib',
        'jinja2',
        'rich',
        'filelock>=4.3',  # releases its locks in forked data workers
        'onedl-mmengine>=0.10.12,<1',
        'onedl-mmcv>=2.3.6,<2.4',
        'onedl-mmpretrain>=1.3.6,<2',
        'onedl-mmsegmentation>=1.4.2,<2',
    ],
    extras_require={
        'tested': tested('runtime') + tested('mminstall'),
        'demo': tested('demo'),
        'tokenizers': tested('tokenizers'),
        'tests': tested('demo') + tested('tokenizers') + tested('tests'),
    },
    zip_safe=False,
)
