"""The one way around safe reading: said by the user, for files whose author is trusted."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

VARIABLE = 'BEIT_MM_TRUST_CHECKPOINT'

ADVICE = f'if you trust who wrote it, set the environment variable {VARIABLE}=1'

_trusted: ContextVar[bool] = ContextVar('trusted', default=False)


@contextmanager
def trust_checkpoints() -> Iterator[None]:
    """Let checkpoints run code while they are read, inside of this context.

    It is the same as the environment variable ``BEIT_MM_TRUST_CHECKPOINT=1`` for a few lines.
    Nothing is refused then and nothing is dropped: pickles are unpickled, plain http is fetched,
    config texts stay in the checkpoint. Each file that needs it is named in a warning.
    """
    token = _trusted.set(True)
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted() -> bool:
    """Return whether the user said so, in the code or in the environment."""
    return _trusted.get() or os.environ.get(VARIABLE, '0').lower() in ('1', 'true', 'yes')
