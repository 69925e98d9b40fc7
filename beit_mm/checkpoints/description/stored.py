"""What a checkpoint says of itself: ``meta['beit_mm']``, plain values beside the tensors.

AtomicCheckpointHook writes it (:func:`beit_mm.checkpoints.description.describe` says what is in it), and a
``.safetensors`` file has it as JSON in its metadata. Others' checkpoints have none, and a file may
say anything: a reader takes what has the right form.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beit_mm.checkpoints.download import fetch
from beit_mm.checkpoints.reading import peek

KEY = 'beit_mm'
FORMAT = 1
PARTS = ('versions', 'code', 'images', 'backbone', 'tokenizer')


def description_of(checkpoint: Any) -> dict | None:
    """The description in a checkpoint, without what has another form; None if there is none."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    found = meta.get(KEY) if isinstance(meta, Mapping) else None
    if not isinstance(found, Mapping) or found.get('format') != FORMAT:
        return None
    parts = {name: found[name] for name in PARTS if isinstance(found.get(name), Mapping)}
    model = found.get('model')
    return dict(format=FORMAT, model=model if isinstance(model, str) else None, **parts)


def read_description(source: str | Path, download: bool = False) -> dict | None:
    """That of a file, of which no weights are read; None where there is none or it can't be read.

    Args:
        download: Fetch a file from an https address, to where its loading finds it.
    """
    source = str(source)
    if '://' in source:
        if not download or not source.startswith('https://'):
            return None
        source = str(fetch(source))
    try:
        if source.endswith('.safetensors'):
            return description_of(dict(meta=_safetensors_metadata(source)))
        return description_of(peek(source))
    except (ValueError, OSError, ImportError, RecursionError):
        return None  # whoever loads it says what is wrong


def for_file(description: Mapping, path: str | Path) -> dict[str, Any]:
    """The metadata that ``write_weights`` needs for ``path``, to be read here again."""
    text_alone = str(path).endswith('.safetensors')
    return {KEY: json.dumps(description) if text_alone else dict(description)}


def _safetensors_metadata(source: str) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(Path(source).expanduser()), 'pt') as file:
            found = file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f'{source}: {error}') from error
    return {KEY: json.loads(found[KEY])} if KEY in found else {}
