"""The config texts that checkpoints carry, which MMEngine runs as Python when it reads them."""

import logging

from mmengine.logging import print_log

from beit_mm.checkpoints.trust import VARIABLE, is_trusted


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
