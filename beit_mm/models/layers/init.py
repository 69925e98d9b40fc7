import torch.nn as nn
from torch import Tensor


def truncated_normal_(tensor: Tensor, std: float = 0.02) -> Tensor:
    """Fill with Normal(0, std) truncated at one sigma, as BEiT draws every weight.

    What is left has a standard deviation of 0.54 * std: 0.0108 for std = 0.02
    (unilm beit/modeling_pretrain.py, ``trunc_normal_``).
    """
    return nn.init.trunc_normal_(tensor, std=std, a=-std, b=std)


def init_linear_and_norm(module: nn.Module, std: float = 0.02) -> None:
    """Draw truncated normal weights and set biases to 0, LayerNorms to 1 and 0.

    Made for ``Module.apply``.
    """
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        truncated_normal_(module.weight, std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
