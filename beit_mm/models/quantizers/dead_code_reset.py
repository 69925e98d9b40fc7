import math

import torch
import torch.nn as nn
from mmengine.dist import all_reduce
from torch import Tensor

from beit_mm.contracts import TrainingState, UserError, check_integers, warn
from beit_mm.contracts.codebook_stats import dead_codes

NAME = 'reset_dead_codes'


class DeadCodeReset(nn.Module, TrainingState):
    """Counts the tokens of the latest training steps and says which codes are dead.

    Every ``interval`` steps a code is dead that was used less than ``share`` of the mean of all
    codes. Only steps since the last reset count, so that new codes are given their time. The
    quantizer decides what replaces a dead code. Nothing of this is in the state dict.

    Args:
        share: In (0, 1).
        min_tokens: No code is dead before this many tokens have come for each code.
        interval: Training steps from one judgement to the next.
        window: Latest training steps that count.

    Raises:
        UserError: A number with which no code or every code would be reset.
    """

    def __init__(
        self,
        vocab_size: int,
        share: float = 0.05,
        min_tokens: float = 10,
        interval: int = 100,
        window: int = 50,
    ):
        super().__init__()
        if not 0 < share < 1:
            raise UserError(f'{NAME}.share={share}: expected a share in (0, 1)')
        if not 0 < min_tokens < math.inf:
            raise UserError(f'{NAME}.min_tokens={min_tokens}: expected more than 0')
        check_integers(NAME, 1, interval=interval, window=window)
        self.share, self.min_tokens, self.interval = share, min_tokens, interval
        counts = torch.zeros(window, vocab_size, dtype=torch.long)  # of this process
        self.register_buffer('counts', counts, persistent=False)
        self.step = 0
        self.judged_from = 0  # a step
        self._has_warned = False

    @classmethod
    def build(cls, config: dict | None, vocab_size: int) -> 'DeadCodeReset | None':
        """Return the reset of a config such as ``dict(interval=50)``; None for None."""
        known = ('share', 'min_tokens', 'interval', 'window')
        if config is None:
            return None
        if unknown := set(config) - set(known):
            raise UserError(f'{NAME} has {sorted(unknown)}: expected {list(known)}')
        return cls(vocab_size, **config)

    def count(self, ids: Tensor) -> None:
        """Add the token ids (...) of a training step."""
        self.counts[self.step % len(self.counts)] = torch.bincount(
            ids.flatten(), minlength=self.counts.shape[1]
        )
        self.step += 1

    @torch.no_grad()
    def dead(self) -> tuple[Tensor, Tensor] | None:
        """Return ids of the dead codes and counts (V,), the same in all processes.

        None where this is not the last step of an interval, or no code is dead. Otherwise the next
        judgement counts from this step on.
        """
        if (self.step + 1) % self.interval:
            return None
        steps = self.judged()
        counts = steps.sum(0)
        all_reduce(counts)
        if len(steps) == len(self.counts) and bool(steps.any(1).all()):
            self._check_window(int(counts.sum()))
        dead = dead_codes(counts, self.share, self.min_tokens).nonzero().flatten()
        if len(dead) == 0:
            return None
        self.judged_from = self.step
        return dead, counts

    def judged(self) -> Tensor:
        """Return the counts (steps, V) of the window since the last reset."""
        window = len(self.counts)
        old = torch.arange(min(max(self.step - window, 0), self.judged_from), self.judged_from)
        kept = torch.ones(window, dtype=torch.bool)
        kept[old % window] = False
        return self.counts[kept.to(self.counts.device)]

    def training_state(self) -> dict[str, Tensor | int]:
        counts = self.counts.to(torch.int32).cpu()
        return dict(counts=counts, step=self.step, judged_from=self.judged_from)

    def load_training_state(self, state: dict[str, Tensor | int]) -> None:
        if state['counts'].shape == self.counts.shape:  # else a new window begins
            self.counts.copy_(state['counts'])
            self.step, self.judged_from = int(state['step']), int(state['judged_from'])

    def _check_window(self, tokens: int) -> None:
        """Warn once if the full window has too few tokens to judge by."""
        window, vocab_size = self.counts.shape
        if self._has_warned or tokens >= self.min_tokens * vocab_size:
            return
        enough = math.ceil(self.min_tokens * vocab_size / tokens * window)
        warn(
            f'{NAME} never resets a code: the {window} steps of its window have '
            f'{tokens / vocab_size:.3g} tokens for each of {vocab_size} codes, fewer than '
            f'{NAME}.min_tokens={self.min_tokens}; set {NAME}.window={enough}'
        )
        self._has_warned = True
