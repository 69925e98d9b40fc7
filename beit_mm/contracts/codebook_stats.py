"""What token counts say of a vocabulary: how much of it is in use, and by how much.

Models keep counts, metrics and hooks read them; this module knows nothing of any of them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CodebookStats:
    """Figures of a histogram of tokens. Entropies are in nats.

    ``perplexity`` is exp of the entropy: the number of codes that would be in use if all of them
    were used equally. ``top_codes`` are (id, percent of the tokens), the commonest first.
    ``possible`` is the most codes that so few tokens could have used, min(V, tokens).
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
        """``top_codes`` in words."""
        return ', '.join(f'{code} ({percent:.1f}%)' for code, percent in self.top_codes) or 'none'

    def __str__(self) -> str:
        return (
            f'{self.codes_used} of {self.vocab_size} codes used '
            f'({self.codes_used_percent:.1f}%), perplexity {self.perplexity:.1f}, '
            f'{self.tokens} tokens; commonest: {self.commonest}'
        )

    def scalars(self) -> dict[str, float]:
        """What is logged as numbers."""
        names = ('codes_used', 'codes_used_percent', 'dead_codes', 'entropy', 'perplexity')
        return {name: getattr(self, name) for name in names}


def codebook_stats(counts: Tensor, top: int = 5) -> CodebookStats:
    """Counts (V,) of the tokens -> their figures. Counts of several processes are added before."""
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
    """Counts (V,) -> bool (V,), True = used less than ``share`` of what is its due.

    A code's due is tokens / V. With few tokens even codes of a uniform distribution are not seen:
    before there are ``min_tokens`` of them for each code, no code is dead.
    """
    due = counts.sum() / len(counts)
    return (counts < share * due) & (due >= min_tokens)
