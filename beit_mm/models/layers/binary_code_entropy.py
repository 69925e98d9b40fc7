import torch
import torch.nn.functional as F
from torch import Tensor

from beit_mm.models.layers.joint_sum import joint_sum


def binary_code_entropies(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return entropies in nats of soft codes of independent bits, without a number for each code.

    The softmax over all 2 ** bits codes in {-1, 1} of their dot products with a vector is a product
    of one sigmoid for each bit. A position's entropy is then a sum over bits, and the distribution
    of the batch is the product of two matrices with a column for each value of half the bits.

    Args:
        logits: (N, bits), that each bit is 1.

    Returns:
        The mean entropy of a position (of this process), and the entropy of the mean distribution
        of all processes' positions. Both have a gradient.
    """
    position = (F.softplus(logits) - logits * logits.sigmoid()).sum(1).mean()
    half = logits.shape[1] // 2
    total = _product(logits[:, :half]).T @ _product(logits[:, half:])
    mean = joint_sum(total) / joint_sum(total.new_tensor(len(logits)))
    # Without the clamp a code of probability 0 has an infinite gradient.
    batch = torch.special.entr(mean.clamp(min=torch.finfo(mean.dtype).tiny)).sum()
    return position, batch


def _product(logits: Tensor) -> Tensor:
    """Return probabilities (N, 2 ** bits) of logits (N, bits)."""
    joint = logits.new_ones(len(logits), 1)
    for bit in logits.T:
        joint = torch.cat([joint * (-bit).sigmoid()[:, None], joint * bit.sigmoid()[:, None]], 1)
    return joint
