from torch import Tensor

from beit_mm.contracts import Tokenizer


class BaseTokenizer(Tokenizer):
    """A tokenizer that counts the tokens of its latest training steps."""

    def usage_counts(self) -> Tensor | None:
        usage = getattr(self, 'usage', None)
        return None if usage is None else usage.counts.sum(0)

    @property
    def can_decode(self) -> bool:
        return type(self).decode is not Tokenizer.decode

    @property
    def has_codebook(self) -> bool:
        return type(self).code_vectors is not Tokenizer.code_vectors

    @property
    def has_posterior(self) -> bool:
        return type(self).posterior is not Tokenizer.posterior
