import torch
from torch import Tensor


def neighbor_targets(ids: Tensor, codes: Tensor, temperature: float) -> Tensor:
    """Return a softmax (M, V) over the other codes (V, D) of ids (M,); nearer ones weigh more.

    Logits are minus the squared distances over ``temperature`` times their mean over all pairs, so
    that the temperature means the same for every codebook. The code itself has probability 0.
    """
    codes = codes.float()
    mean = 2 * codes.var(0, correction=0).sum()  # of the squared distance of two random codes
    distances = torch.cdist(codes[ids], codes, compute_mode='donot_use_mm_for_euclid_dist').square()
    logits = -distances / (temperature * mean.clamp(min=1e-12))
    return logits.scatter(1, ids[:, None], -torch.inf).softmax(-1)


def sharpened(probabilities: Tensor, temperature: float) -> Tensor:
    """Return p^(1 / temperature) of rows of probabilities (M, V), normalized."""
    tiny = torch.finfo(probabilities.dtype).tiny
    return (probabilities.clamp(min=tiny).log() / temperature).softmax(-1)
