import torch
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.layers.joint_sum import joint_sum


class TokenWindow(TrainingState):
    """Tokens of the latest training steps of all processes, and the losses that predict them.

    Args:
        size: Steps that are counted together.
    """

    def __init__(self, vocab_size: int, size: int):
        self.usage = CodeUsage(vocab_size, size)
        self.loss_sums = torch.zeros(size)  # of this process

    @torch.no_grad()
    def add(self, ids: Tensor, loss: Tensor | float | None = None) -> Tensor:
        """Add a step and return the counts (V,) of the window, of all processes.

        Args:
            ids: Tokens of this process, of any shape.
            loss: Mean cross-entropy of their prediction, in nats.
        """
        self.usage.to(ids.device)
        if loss is not None:
            self.loss_sums = self.loss_sums.to(ids.device)
            self.loss_sums[self.usage.step % len(self.loss_sums)] = loss * ids.numel()
        return self.usage.add(ids)

    @torch.no_grad()
    def compare_loss(self, unigram_entropy: Tensor) -> Tensor:
        """Return what part of the unigram entropy is predicted, 1 - loss / unigram_entropy.

        It is 0 for the best prediction that ignores the image, and 1 for a perfect one. Steps whose
        loss is not finite are left out. One token alone leaves nothing to predict: 0.
        """
        known = self.loss_sums.isfinite()
        targets = self.usage.counts.sum(1)
        loss, size = joint_sum(torch.stack([self.loss_sums[known].sum(), targets[known].sum()]))
        return torch.where(unigram_entropy > 0, 1 - loss / size / unigram_entropy, 0.0)

    def training_state(self) -> dict:
        return dict(usage=self.usage.training_state(), loss_sums=self.loss_sums.cpu())

    def load_training_state(self, state: dict) -> None:
        if state['loss_sums'].shape == self.loss_sums.shape:  # else a new window begins
            self.usage.load_training_state(state['usage'])
            self.loss_sums = state['loss_sums'].clone()
