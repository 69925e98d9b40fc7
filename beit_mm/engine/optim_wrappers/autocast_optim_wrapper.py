from collections.abc import Sequence
from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from beit_mm.contracts import UserError
from beit_mm.registry import OPTIM_WRAPPERS

DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Mixed precision on any device, CPUs included, with a scaled loss for float16.

    Args:
        dtype: ``bfloat16`` or ``float16``.
        init_scale: First loss scale of float16. It halves when gradients overflow (that update is
            left out) and doubles after 2000 good updates.
    """

    def __init__(self, dtype: str = 'bfloat16', init_scale: float = 2.0**16, **kwargs):
        super().__init__(**kwargs)
        if dtype not in DTYPES:
            raise UserError(f'optim_wrapper.dtype={dtype!r}: expected one of {list(DTYPES)}')
        self.dtype = DTYPES[dtype]
        if self.clip_grad_kwargs and self.clip_func is clip_grad_norm_:
            self.clip_func = clip_above
        self.device_type = torch.device(get_device()).type
        self.loss_scaler = torch.amp.GradScaler(
            self.device_type, init_scale=init_scale, enabled=dtype == 'float16'
        )

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(self.device_type, self.dtype):
            yield

    def backward(self, loss: torch.Tensor, **kwargs) -> None:
        self.loss_scaler.scale(loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs) -> None:
        if self.clip_grad_kwargs:
            self.loss_scaler.unscale_(self.optimizer)
            self._clip_grad()
        self.loss_scaler.step(self.optimizer, **kwargs)
        self.loss_scaler.update()

    def state_dict(self) -> dict:
        return dict(super().state_dict(), loss_scaler=self.loss_scaler.state_dict())

    def load_state_dict(self, state_dict: dict) -> None:
        state_dict = dict(state_dict)
        scaler = state_dict.pop('loss_scaler', None)
        if scaler:
            self.loss_scaler.load_state_dict(scaler)
        super().load_state_dict(state_dict)


@torch.no_grad()
def clip_above(
    parameters: Sequence[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Clip gradients as ``clip_grad_norm_`` does, and return their norm.

    It multiplies all gradients by 1 where their norm is small enough, which for BEiT-B takes as
    long as a third of AdamW; this leaves them as they are.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    if not max_norm / (norm + 1e-6) >= 1:  # NaN is neither
        clip_grads_with_norm_(parameters, max_norm, norm, foreach)
    return norm
