"""The one way around safe reading: said by the user, for files whose author is trusted."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mmengine.logging import print_log

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


def drop_config(checkpoint: dict, source: str) -> None:
    """Take the config texts out of ``checkpoint``, in place.

    ``Runner.resume`` runs ``meta['config']``; inferencers without a config run the text of
    ``message_hub`` or ``meta['cfg']``, and build what it says. One of plain values is no safer: a
    registry imports whatever ``type`` names (``subprocess.getoutput``) and calls it, and some
    transforms evaluate their options. Training does not need any of them.
    """
    if is_trusted():
        return
    meta = checkpoint.get('meta')
    hub = checkpoint.get('message_hub')
    places = [(meta, 'config'), (meta, 'cfg')]
    if isinstance(hub, dict):
        places.append((hub.get('runtime_info'), 'cfg'))
    found = [
        holder.pop(key) for holder, key in places if isinstance(holder, dict) and key in holder
    ]
    if found:
        print_log(
            f'{source}: its config text is left out; an inferencer, which would run it, needs a '
            f'config of yours ({VARIABLE}=1 keeps the text)',
            logger='current',
            level=logging.DEBUG,
        )
