"""Make ``import torchvision`` work where a CUDA-built torchvision meets a CPU-only torch."""

import sys
from importlib.machinery import PathFinder

import torch

_SCHEMAS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_library = None  # the declarations live as long as this object


def declare_missing_ops() -> bool:
    """Declare ``torchvision::nms`` and ``qnms`` if torchvision's own library cannot be loaded.

    torchvision registers fake kernels for the two operators while it is imported, and fails with
    "operator torchvision::nms does not exist" when its compiled library, which declares them,
    needs CUDA libraries that a CPU-only torch does not bring. BEiT runs none of these operators,
    so a declaration without an implementation is enough. torchvision itself is not imported.

    Returns:
        Whether the operators had to be declared.
    """
    global _library
    if _library is not None or torch.version.cuda is not None or 'torchvision' in sys.modules:
        return False
    package = PathFinder.find_spec('torchvision')
    if package is None or not package.submodule_search_locations:
        return False
    compiled = PathFinder.find_spec('_C', list(package.submodule_search_locations))
    if compiled is None:
        return False
    try:
        torch.ops.load_library(compiled.origin)  # as torchvision does; declares the operators
        return False
    except OSError:
        _library = torch.library.Library('torchvision', 'FRAGMENT')
        for schema in _SCHEMAS:
            _library.define(schema)
        return True
