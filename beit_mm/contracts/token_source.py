from torch import Tensor


class TokenSource:
    """Mixin of the models whose training makes tokens that hooks watch.

    Attributes:
        vocab_size: Number of token ids; None where there are none to watch.
        latest_ids: Token ids of the latest training step, of this process, of any shape: those of
            a tokenizer in training, the targets of a masked image model.
    """

    vocab_size: int | None = None
    latest_ids: Tensor | None = None
