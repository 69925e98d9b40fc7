"""What checks that build parts of a config share: they say nothing but their findings."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mmengine.logging import MMLogger


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, prints and the log, where optimizers write the group of each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)


def explain_error(error: Exception) -> str:
    """Return an error in one line, with its class where that says more than ValueError."""
    name = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
    return f'{name}{" ".join(str(error).split()) or "it gives no reason"}'
