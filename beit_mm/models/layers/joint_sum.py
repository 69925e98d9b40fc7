"""A sum over all processes that gradients pass, and a batch norm over all of their batches."""

import torch
import torch.distributed as dist
import torch.nn as nn
from torch import Tensor


def num_processes() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def joint_sum(x: Tensor) -> Tensor:
    """Return the sum of all processes' ``x``, in each of them; with one process ``x`` itself.

    The gradient is that of the sum of all processes' losses.
    """
    return _JointSum.apply(x) if num_processes() > 1 else x


class _JointSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _JointSum.apply(gradient)


class JointBatchNorm2d(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` without affine part, over the batches of all processes, on any device.

    The processes may have batches of different sizes. In eval mode, where the running statistics
    are taken, there is no communication. Its state dict is that of ``nn.BatchNorm2d``.
    """

    def __init__(self, num_features: int):
        super().__init__(num_features, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Standardize (B, C, h, w): in training each channel has mean 0 and variance 1."""
        if not self.training or num_processes() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = joint_sum(torch.cat([x.sum(axes), count]))  # (C + 1,)
        count = sums[-1]
        mean = sums[:-1] / count
        centered = x - mean.view(shape)
        var = joint_sum(centered.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        return centered * (var + self.eps).rsqrt().view(shape)
