"""What a forward has to know where its operations are written down and not only computed."""

import torch
from torch import Tensor

from beit_mm.contracts.errors import UserError


def is_exported() -> bool:
    """Return whether the forward that runs now is exported or traced, for batches of any size."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()


def is_recorded(tensor: Tensor) -> bool:
    """Return whether operations on ``tensor`` are recorded, or have no values to compute with.

    That is so while a model is exported, traced, compiled or captured as a CUDA graph, and for fake
    and meta tensors: nothing that was computed may then be kept, and no value may be looked at.
    """
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or tensor.is_meta
        or type(tensor.detach()) is not Tensor  # a fake one, of an export for example
        or (tensor.is_cuda and torch.cuda.is_current_stream_capturing())
    )


def fix_size(images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return images (B, C, H, W), and (H, W) as numbers; an export or trace has these sizes alone.

    Raises:
        UserError: ``torch.export`` or an exporter behind it is asked for any height or width.
    """
    height, width = images.shape[-2:]
    if torch.jit.is_tracing():  # there they are tensors, and a trace would follow them
        height, width = int(height), int(width)
        # Other sizes stop here: 4 x 6 patches are no 6 x 4.
        return images.expand(-1, -1, height, width), (height, width)
    free = [n for n, side in ((2, height), (3, width)) if isinstance(side, torch.SymInt)]
    if free:
        raise UserError(
            f'Dimensions {free} of the images are dynamic, but positions are made for one height '
            'and width: export with images of the size you need, and mark the batch alone, as in '
            "dynamic_shapes=({0: torch.export.Dim('batch')},); export once more for each other size"
        )
    return images, (height, width)
