import logging
import math

import torch
from mmengine.dist import all_reduce
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.contracts.codebook_stats import dead_codes
from beit_mm.models.layers.code_usage import CodeUsage
from beit_mm.models.quantizers.ema_codebook import EMACodebook

DEFAULTS = dict(share=0.05, min_tokens=10, interval=100)


class DeadCodeReset:
    """When a tokenizer's codes are dead; what becomes of them is the tokenizer's own matter.

    Args:
        config: ``dict(share=0.05, min_tokens=10, interval=100)``, any part of it. Each
            ``interval`` steps a code is dead that was used less than ``share`` of the window's
            mean, once the window has ``min_tokens`` tokens for each code.
        owner: Class name for error messages.

    Raises:
        ValueError: An unknown key, or a number that would reset_dead_codes nothing or everything.
    """

    def __init__(self, config: dict, owner: str):
        if unknown := set(config) - set(DEFAULTS):
            raise ValueError(
                f'{owner}.reset_dead_codes has {sorted(unknown)}: expected {list(DEFAULTS)}'
            )
        config = dict(DEFAULTS, **config)
        self.share, self.min_tokens = config['share'], config['min_tokens']
        self.interval = config['interval']
        self.owner = owner
        self.warned = False
        if not 0 < self.share < 1:
            raise ValueError(
                f'{owner}.reset_dead_codes.share={self.share}: expected a share in (0, 1)'
            )
        if not 0 < self.min_tokens < math.inf:
            raise ValueError(
                f'{owner}.reset_dead_codes.min_tokens={self.min_tokens}: expected more than 0'
            )
        if not isinstance(self.interval, int) or self.interval < 1:
            raise ValueError(
                f'{owner}.reset_dead_codes.interval={self.interval}: expected an integer >= 1'
            )

    @torch.no_grad()
    def dead(self, usage: CodeUsage) -> tuple[Tensor, Tensor] | None:
        """Ids of the codes to reset_dead_codes in this step and counts (V,), the same in all processes.

        None where there is nothing to do. Else the next judgement begins with this step, so that
        the new codes get a window of their own. A full window that is too small to tell is named in
        the log, once.
        """
        if (usage.step + 1) % self.interval:
            return None
        steps = usage.judged()
        counts = steps.sum(0)
        all_reduce(counts)
        full = len(steps) == len(usage.counts) and bool(steps.any(1).all())
        self._check_window(*usage.counts.shape, full, int(counts.sum()))
        dead = dead_codes(counts, self.share, self.min_tokens).nonzero().flatten()
        if len(dead) == 0:
            return None
        usage.judged_from = usage.step
        return dead, counts

    def replace_dead(self, codebook: EMACodebook, usage: CodeUsage, vectors: Tensor) -> None:
        """Dead codes go to vectors (..., D) of the batch of all processes."""
        found = self.dead(usage)
        if found is not None:
            codebook.replace(found[0], vectors)

    def _check_window(self, steps: int, vocab_size: int, full: bool, tokens: int) -> None:
        if self.warned or not full or tokens >= self.min_tokens * vocab_size:
            return
        enough = math.ceil(self.min_tokens * vocab_size / tokens * steps)
        print_log(
            f'{self.owner}.reset_dead_codes never brings a code back: the {steps} steps of usage_window have '
            f'{tokens / vocab_size:.3g} tokens for each of {vocab_size} codes, fewer than '
            f'reset_dead_codes.min_tokens={self.min_tokens}; set usage_window={enough}',
            logger='current',
            level=logging.WARNING,
        )
        self.warned = True
