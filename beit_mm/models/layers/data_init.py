import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.layers.joint_sum import joint_sum


@torch.no_grad()
def standardize_output_(conv: nn.Conv2d, output: Tensor, std: float) -> None:
    """Shift and scale ``conv`` so that each channel of its ``output`` (B, C, h, w) is (0, std).

    Mean and spread are those over the batches of all processes, which may differ in size. A channel
    that is the same everywhere, as with blank images, keeps its scale.
    """
    output = output.double()
    sums = torch.stack([output.sum((0, 2, 3)), output.square().sum((0, 2, 3))])
    number = sums.new_full((1, sums.shape[1]), output[:, 0].numel())
    total, squares, number = joint_sum(torch.cat([sums, number]))
    mean = total / number
    var = squares / number - mean.square()
    flat = var <= 1e-10 * (squares / number)  # rounding of float32 alone
    scale = torch.where(flat, 1.0, std / var.clamp(min=1e-30).sqrt())
    mean, scale = mean.to(conv.weight.dtype), scale.to(conv.weight.dtype)
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    conv.bias.sub_(mean).mul_(scale)
