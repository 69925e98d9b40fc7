"""Statistics of token counts: how much of a vocabulary is used, and how evenly."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodebookStats:
    """Statistics of a histogram of tokens.

    Attributes:
        vocab_size: Number of token ids V.
        tokens: Number of tokens that were counted.
        codes_used: Token ids that occur.
        codes_used_percent: Of ``vocab_size``.
        dead_codes: Token ids that do not occur.
        entropy: Of the histogram, in nats.
        perplexity: exp(entropy); as many codes used equally have the same entropy.
        perplexity_percent: Of ``vocab_size``.
        possible: The most codes that so few tokens can use, min(V, tokens).
        top_codes: (id, percent of the tokens) of the commonest ids, the commonest first.
    """

    vocab_size: int
    tokens: int
    codes_used: int
    codes_used_percent: float
    dead_codes: int
    entropy: float
    perplexity: float
    perplexity_percent: float
    possible: int
    top_codes: tuple[tuple[int, float], ...]

    @property
    def commonest(self) -> str:
        """Return ``top_codes`` as text."""
        return ', '.join(f'{code} ({percent:.1f}%)' for code, percent in self.top_codes) or 'none'

    def __str__(self) -> str:
        return (
            f'{self.codes_used} of {self.vocab_size} codes used '
            f'({self.codes_used_percent:.1f}%), perplexity {self.perplexity:.1f}, '
            f'{self.tokens} tokens; commonest: {self.commonest}'
        )

    def scalars(self) -> dict[str, float]:
        """Return the values for a log."""
        names = ('codes_used', 'codes_used_percent', 'dead_codes', 'entropy', 'perplexity')
        return {name: vars(self)[name] for name in names}


def codebook_stats(counts: Tensor, top: int = 5) -> CodebookStats:
    """Compute the statistics of token counts (V,), which are summed over processes before."""
    counts = counts.detach().to('cpu', torch.float64)
    vocab_size, tokens = len(counts), int(counts.sum())
    entropy = float(torch.special.entr(counts / max(tokens, 1)).sum())
    perplexity = float(torch.tensor(entropy).exp()) if tokens else 0.0
    used = int((counts > 0).sum())
    values, ids = counts.sort(descending=True, stable=True)
    commonest = zip(ids[:top].tolist(), values[:top].tolist(), strict=True)
    return CodebookStats(
        vocab_size=vocab_size,
        tokens=tokens,
        codes_used=used,
        codes_used_percent=100 * used / vocab_size,
        dead_codes=vocab_size - used,
        entropy=entropy,
        perplexity=perplexity,
        perplexity_percent=100 * perplexity / vocab_size,
        possible=min(vocab_size, tokens),
        top_codes=tuple((code, 100 * number / tokens) for code, number in commonest if number),
    )


def dead_codes(counts: Tensor, share: float, min_tokens: float) -> Tensor:
    """Find the codes with fewer tokens than ``share`` of tokens / V.

    Args:
        counts: (V,)
        min_tokens: With fewer tokens per code no code is dead, since a uniform distribution misses
            some codes too.

    Returns:
        (V,) bool, True = dead.
    """
    due = counts.sum() / len(counts)
    return (counts < share * due) & (due >= min_tokens)
