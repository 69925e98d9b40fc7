import re
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Tools that set up and run a checkout.
CHECKOUT_ONLY = ('quickstart.*', 'setup_env.sh')

# What some configs name, and what some formats need.
EXTRAS = {
    'mmpretrain': ['torchvision', 'onedl-mmpretrain>=1.3.6,<2'],
    'mmseg': ['torchvision', 'onedl-mmpretrain>=1.3.6,<2', 'onedl-mmsegmentation>=1.4.2,<2'],
    'huggingface': ['transformers', 'safetensors'],
    'timm': ['torchvision', 'timm', 'safetensors'],
    'onnx': ['onnx', 'onnxscript', 'onnxruntime'],
    'tables': ['pandas', 'pyarrow'],
    'demo': ['gradio>=6'],
    'loggers': ['tensorboard', 'wandb', 'mlflow-skinny'],
    'formats': ['pydicom', 'imagecodecs', 'pillow-heif'],
}

# Files of requirements/ that the tests need.
TESTS = ('digits', 'docs', 'tokenizers', 'onnx', 'loggers', 'tests')


def read(name: str) -> str:
    path = ROOT / name
    return path.read_text(encoding='utf-8') if path.exists() else ''


def tested(name: str) -> list[str]:
    """The pinned requirements of requirements/{name}.txt."""
    lines = (line.strip() for line in read(f'requirements/{name}.txt').splitlines())
    return [line for line in lines if line and not line.startswith(('#', '-'))]


class build_with_configs(build_py):
    """Puts configs, their index and tools into beit_mm/.mim, where OpenMMLab packages keep them."""

    def run(self):
        super().run()
        if not self.editable_mode:  # a checkout is linked by beit_mm/named_configs.py
            target = Path(self.build_lib, 'beit_mm', '.mim')
            for folder in ('configs', 'tools'):
                copytree(
                    ROOT / folder,
                    target / folder,
                    ignore=ignore_patterns('__pycache__', *CHECKOUT_ONLY),
                    dirs_exist_ok=True,
                )
            copy(ROOT / 'model-index.yml', target)


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
    entry_points={'console_scripts': ['beit-mm = beit_mm.cli.main:main']},
    # What trains a tokenizer and BEiT on a folder. requirements/ pins what was tested.
    install_requires=[
        'torch>=2.7',  # older ones are untried
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
    ],
    extras_require={
        **EXTRAS,
        'all': [package for packages in EXTRAS.values() for package in packages],
        'tested': tested('runtime') + tested('mminstall'),
        'digits': tested('digits'),
        'docs': tested('docs'),
        'tokenizers': tested('tokenizers'),
        'tests': [line for name in TESTS for line in tested(name)],
    },
    zip_safe=False,
)
