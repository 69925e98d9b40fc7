"""Half precision that makes a training slower."""

from collections.abc import Iterator

import torch
from torch import nn

from beit_mm.contracts import Finding
from beit_mm.contracts.runner_access import model_of, optim_wrappers
from beit_mm.models.layers.half_precision import describe_slowdown


def check_precision(runner) -> Iterator[Finding]:
    """Yield a warning for each half precision that this CPU takes longer for than for float32."""
    model = model_of(runner)
    if any(weight.device.type != 'cpu' for weight in model.parameters()):
        return
    for key, dtype in _halves(runner, model):
        if slow := describe_slowdown(dtype):
            yield Finding.warning(key, slow)


def _halves(runner, model: nn.Module) -> Iterator[tuple[str, torch.dtype]]:
    keys = [('optim_wrapper.dtype', vars(w).get('dtype')) for w in optim_wrappers(runner)]
    keys.append(('model.tokenizer_dtype', vars(model).get('tokenizer_dtype')))
    if runner.val_loop is not None and vars(runner.val_loop).get('fp16'):
        keys.append(('val_cfg.fp16', torch.get_autocast_dtype('cpu')))
    return ((key, dtype) for key, dtype in keys if isinstance(dtype, torch.dtype))
