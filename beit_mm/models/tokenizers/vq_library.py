from types import ModuleType


def vq_library(owner: str) -> ModuleType:
    """vector-quantize-pytorch, which only some tokenizers need."""
    try:
        import vector_quantize_pytorch
    except ImportError as error:
        raise ImportError(
            f'{owner} needs the package vector-quantize-pytorch: '
            'python -m pip install -r requirements/tokenizers.txt'
        ) from error
    return vector_quantize_pytorch
