from importlib import import_module
from types import ModuleType

from beit_mm.contracts import MissingPackageError

# The name of an import: the extra that installs it.
EXTRAS = dict(
    onnx='onnx',
    onnxscript='onnx',
    onnxruntime='onnx',
    safetensors='huggingface',
    timm='timm',
    transformers='huggingface',
    PIL='huggingface',
    gradio='demo',
)


def need(name: str, what: str) -> ModuleType:
    """Import an optional package.

    Raises:
        MissingPackageError: It is not installed; ``what`` needs it.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f'{what} needs {name} ({error}); pip install "beit_mm[{EXTRAS[name]}]"'
        ) from error
