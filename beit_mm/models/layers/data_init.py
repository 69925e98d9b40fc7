import torch
import torch.nn as nn
from torch import Tensor

from .joint_sum import joint_sum, num_processes


@torch.no_grad()
def standardise_output_(conv: nn.Conv2d, output: Tensor, std: float) -> None:
    """Shift and scale ``conv`` so that each channel of its ``output`` (B, C, h, w) is (0, std).

    Mean and spread are those over the batches of all processes.
    """
    output = output.float()
    moments = torch.stack([output.mean((0, 2, 3)), output.square().mean((0, 2, 3))])
    mean, square = joint_sum(moments) / num_processes()
    scale = std / (square - mean.square()).clamp(min=1e-12).sqrt()
    conv.weight.mul_(scale.view(-1, 1, 1, 1))
    conv.bias.sub_(mean).mul_(scale)
