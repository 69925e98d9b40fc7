"""Samples of categoricals that a gradient passes: of logits (..., V), one-hot or nearly so."""

import torch
import torch.nn.functional as F
from torch import Tensor


def soft(logits: Tensor, temperature: float) -> Tensor:
    """Sample by Gumbel-softmax (arXiv 1611.01144): not one-hot, unbiased for the relaxed loss."""
    return F.gumbel_softmax(logits, temperature)


def straight_through(logits: Tensor, temperature: float) -> Tensor:
    """Sample by Gumbel-softmax, with its one-hot argmax as value."""
    return F.gumbel_softmax(logits, temperature, hard=True)


def reinmax(logits: Tensor, temperature: float) -> Tensor:
    """Sample by ReinMax (arXiv 2304.08612, algorithm 2): second-order accurate, no Gumbel noise.

    The sample is drawn from softmax(logits) whatever the temperature, which is that of the
    gradient alone; the paper's are 1 or a little more.
    """
    samples = torch.distributions.Categorical(logits=logits.detach()).sample()
    return reinmax_of(F.one_hot(samples, logits.shape[-1]).to(logits.dtype), logits, temperature)


def reinmax_of(sample: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return ``sample`` (..., V), one-hot, with ReinMax's gradient to the logits.

    The gradient is 2 * that of the softmax shifted half way to the sample - 1/2 * that of the
    softmax: Heun's rule in the place of Euler's, which straight-through is.
    """
    probabilities = logits.softmax(-1)
    middle = (sample + (logits / temperature).softmax(-1)) / 2
    # softmax(log(middle) - sg(logits) + logits) is `middle` with the gradient of a softmax there.
    middle = ((middle.log() - logits).detach() + logits).softmax(-1)
    surrogate = 2 * middle - probabilities / 2
    return sample + (surrogate - surrogate.detach())


RELAXATIONS = dict(soft=soft, straight_through=straight_through, reinmax=reinmax)
