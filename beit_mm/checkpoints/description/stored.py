"""The description in a checkpoint: ``meta['beit_mm']``, plain values beside the tensors.

AtomicCheckpointHook writes it; a ``.safetensors`` file has it as JSON in its metadata. Checkpoints
of other libraries have none. Since a file may say anything, a reader takes only what has the right
form.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from beit_mm.checkpoints.download import fetch
from beit_mm.checkpoints.find_checkpoint import find_in_folder
from beit_mm.checkpoints.reading import peek

KEY = 'beit_mm'
FORMAT = 3
READ = (1, 2, FORMAT)
# Digests of format 1 count names in the state dicts of tokenizers that have changed since.
OLD_FORMAT, OLD_DIGESTS = 1, ('sha256', 'weights_sha256')
PARTS = dict(
    dict.fromkeys(('versions', 'code', 'images', 'backbone', 'tokenizer'), Mapping),
    task=str,
    architecture=Mapping,
    classes=list,
    palette=list,
    preprocessing=Mapping,
)
LISTS = dict(pipeline=Mapping, size=int, token_size=int, range=int | float)  # in preprocessing


def meta_of(checkpoint: Any) -> Mapping:
    """Return what a checkpoint has under ``meta``; empty if that is no dict, or not there."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    return meta if isinstance(meta, Mapping) else {}


def description_of(checkpoint: Any) -> dict | None:
    """Return the parts of a checkpoint's description that have the right form, None without any.

    Formats 1 and 2 do not say how to build the model. One of format 1 is returned without digests
    of the tokenizer.
    """
    found = meta_of(checkpoint).get(KEY)
    if not isinstance(found, Mapping) or found.get('format') not in READ:
        return None
    parts = {name: found[name] for name, kind in PARTS.items() if isinstance(found.get(name), kind)}
    if found['format'] == OLD_FORMAT and 'tokenizer' in parts:
        kept = {name: v for name, v in parts['tokenizer'].items() if name not in OLD_DIGESTS}
        parts['tokenizer'] = kept
    if 'preprocessing' in parts:
        facts = parts['preprocessing']
        parts['preprocessing'] = {n: v for n, v in facts.items() if _has_right_form(n, v)}
    model = found.get('model')
    return dict(format=found['format'], model=model if isinstance(model, str) else None, **parts)


def _has_right_form(name: str, value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and (name == 'pipeline' or len(value) == 2)
    return name not in LISTS or (is_list and all(isinstance(one, LISTS[name]) for one in value))


def read_description(source: str | Path, download: bool = False) -> dict | None:
    """Return the description in a file without loading its weights, None where none can be read.

    Args:
        download: Fetch a file from an https address, to where its loading finds it.
    """
    source = str(source)
    if '://' in source:
        if not download or not source.startswith('https://'):
            return None
        source = str(fetch(source))
    try:
        if Path(source).is_dir():
            source = str(find_in_folder(Path(source)))
        if source.endswith('.safetensors'):
            return description_of(dict(meta=_safetensors_metadata(source)))
        return description_of(peek(source))
    except (ValueError, OSError, ImportError, RecursionError):
        return None  # the loading of the file says what is wrong


def for_file(description: Mapping, path: str | Path) -> dict[str, Any]:
    """Return the metadata with which ``write_weights`` stores a description in ``path``."""
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
