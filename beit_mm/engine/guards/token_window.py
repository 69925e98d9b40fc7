import torch
from torch import Tensor

from beit_mm.contracts import TrainingState
from beit_mm.models.layers.joint_sum import joint_sum


class TokenWindow(TrainingState):
    """Tokens of the latest training steps, and the losses of their prediction.

    Args:
        size: Steps that are counted together.
    """

    def __init__(self, vocab_size: int, size: int):
        self.counts = torch.zeros(size, vocab_size, dtype=torch.long)  # of this process
        self.loss_sums = torch.zeros(size)
        self.step = 0

    @torch.no_grad()
    def add(self, ids: Tensor, loss: Tensor | float | None = None) -> Tensor:
        """Add a step and return the counts (V,) of the window, of all processes.

        Args:
            ids: Tokens of this process, of any shape.
            loss: Mean cross-entropy of their prediction, in nats.
        """
        self.counts = self.counts.to(ids.device)
        row = self.step % len(self.counts)
        self.counts[row] = torch.bincount(ids.flatten(), minlength=self.counts.shape[1])
        if loss is not None:
            self.loss_sums = self.loss_sums.to(ids.device)
            self.loss_sums[row] = loss * ids.numel()
        self.step += 1
        return joint_sum(self.counts.sum(0))

    @torch.no_grad()
    def compare_loss(self, unigram_entropy: Tensor) -> Tensor:
        """Return what part of the unigram entropy is predicted, 1 - loss / unigram_entropy.

        It is 0 for the best prediction that ignores the image, and 1 for a perfect one. Steps whose
        loss is not finite are left out. One token alone leaves nothing to predict: 0.
        """
        known = self.loss_sums.isfinite()
        targets = self.counts.sum(1)
        loss, size = joint_sum(torch.stack([self.loss_sums[known].sum(), targets[known].sum()]))
        return torch.where(unigram_entropy > 0, 1 - loss / size / unigram_entropy, 0.0)

    def training_state(self) -> dict:
        counts = self.counts.to(torch.int32).cpu()
        return dict(counts=counts, loss_sums=self.loss_sums.cpu(), step=self.step)

    def load_training_state(self, state: dict) -> None:
        if state['counts'].shape == self.counts.shape:  # else a new window begins
            self.counts, self.loss_sums = state['counts'].long(), state['loss_sums'].clone()
            self.step = state['step']
