import torch
import torch.nn as nn
from torch import Tensor

from .joint_sum import joint_sum


class CodeUsage(nn.Module):
    """Which codes the latest training steps used. Not part of the state dict.

    ``counts`` are those of this process, the figures those of all processes.
    Checkpoints keep it beside the weights for ``resume`` (``training_state``), since what is
    revived may depend on it.

    Args:
        window: Steps that are counted together.
    """

    def __init__(self, vocab_size: int, window: int = 50):
        super().__init__()
        if not isinstance(window, int) or window < 1:
            raise ValueError(f'usage_window={window!r}: expected a number of steps, at least 1')
        counts = torch.zeros(window, vocab_size, dtype=torch.long)
        self.register_buffer('counts', counts, persistent=False)
        self.step = 0

    @torch.no_grad()
    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        """ids of one step, any shape -> ``codes_used`` and ``perplexity`` of the window."""
        total = self.add(ids)
        share = total / total.sum()
        return dict(
            codes_used=(total > 0).sum().float(),
            perplexity=torch.special.entr(share).sum().exp(),
        )

    @torch.no_grad()
    def add(self, ids: Tensor) -> Tensor:
        """ids of one step, any shape -> counts (V,) of the window, of all processes."""
        row = self.step % len(self.counts)
        self.counts[row] = torch.bincount(ids.flatten(), minlength=self.counts.shape[1])
        self.step += 1
        return joint_sum(self.counts.sum(0))

    def training_state(self) -> dict[str, Tensor | int]:
        return dict(counts=self.counts.to(torch.int32).cpu(), step=self.step)

    def load_training_state(self, state: dict[str, Tensor | int]) -> None:
        if state['counts'].shape == self.counts.shape:  # else a new window begins
            self.counts.copy_(state['counts'])
            self.step = int(state['step'])
