import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.layers.joint_sum import joint_sum, num_processes


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
