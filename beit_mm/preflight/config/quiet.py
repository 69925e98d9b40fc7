"""What checks that build parts of a config share: they say nothing but their findings."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from mmengine.logging import MMLogger

from beit_mm.contracts.config_walk import walk_values


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


def explain_error(error: Exception, part: Any = None) -> str:
    """Return in one line why ``part`` cannot be built; if None is why, with the keys that hold it.

    The class of the error is named where it says more than ValueError.
    """
    name = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
    text = name + (' '.join(str(error).split()) or 'it gives no reason')
    is_due_to_none = name and ('None' in text or not str(error))
    empty = [key for key, value in walk_values(part) if value is None] if is_due_to_none else ()
    return f'{", ".join(empty)} is None; write a value ({text})' if empty else text
