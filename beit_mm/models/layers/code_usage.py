import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.models.layers.joint_sum import joint_sum


class CodeUsage(nn.Module):
    """Which codes the latest training steps used. Not part of the state dict.

    ``counts`` are those of this process, the figures those of all processes.
    Checkpoints keep it beside the weights for ``resume`` (``training_state``), since what is
    revived may depend on it.

    A revival judges codes by the steps since the last one (``judged_from``); the figures are always
    those of the whole window, so that none hides a collapse.

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
        self.judged_from = 0  # a step

    def judged(self) -> Tensor:
        """Counts (steps, V) of the window, without the steps before ``judged_from``."""
        window = len(self.counts)
        old = torch.arange(min(max(self.step - window, 0), self.judged_from), self.judged_from)
        kept = torch.ones(window, dtype=torch.bool)
        kept[old % window] = False
        return self.counts[kept.to(self.counts.device)]

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
        counts = self.counts.to(torch.int32).cpu()
        return dict(counts=counts, step=self.step, judged_from=self.judged_from)

    def load_training_state(self, state: dict[str, Tensor | int]) -> None:
        if state['counts'].shape == self.counts.shape:  # else a new window begins
            self.counts.copy_(state['counts'])
            self.step = int(state['step'])
            self.judged_from = int(state.get('judged_from', 0))
