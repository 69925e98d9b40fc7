import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.layers.joint_sum import joint_sum


class ChanceLevel(nn.Module):
    """What the loss of a token prediction has to be compared with.

    Knowing nothing but the shares of the tokens, the best prediction has a cross-entropy of their
    entropy, ``chance``; ``gain_over_unigram`` is the part of it that is predicted, 1 - loss / chance: 0
    for that prediction, 1 for a perfect one, negative below, and without the steps whose loss is
    not finite. Both are over the latest training steps of all processes, and nothing is in the
    state dict; checkpoints keep it beside the weights for ``resume`` (``training_state``).

    Args:
        window: Steps that are counted together.
    """

    def __init__(self, vocab_size: int, window: int = 50):
        super().__init__()
        self.usage = CodeUsage(vocab_size, window)
        self.register_buffer('loss_sums', torch.zeros(window), persistent=False)

    @torch.no_grad()
    def forward(self, ids: Tensor, loss: Tensor) -> dict[str, Tensor]:
        """Targets (M,) of one step and their mean cross-entropy -> figures of the window."""
        self.loss_sums[self.usage.step % len(self.loss_sums)] = loss.detach() * len(ids)
        counts = self.usage.add(ids)
        chance = torch.special.entr(counts / counts.sum().clamp(min=1)).sum()
        known = self.loss_sums.isfinite()  # steps of this process
        targets = self.usage.counts.sum(1)
        loss, size = joint_sum(torch.stack([self.loss_sums[known].sum(), targets[known].sum()]))
        gain_over_unigram = 1 - loss / size / chance
        return dict(
            target_codes=(counts > 0).sum().float(),
            target_perplexity=chance.exp(),
            chance=chance,
            gain_over_unigram=torch.where(
                chance > 0, gain_over_unigram, 0.0
            ),  # one token: nothing to predict
        )

    def training_state(self) -> dict[str, Tensor]:
        return dict(loss_sums=self.loss_sums.cpu())

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        if state['loss_sums'].shape == self.loss_sums.shape:  # else a new window begins
            self.loss_sums.copy_(state['loss_sums'])
