"""Whether a file can be a whole checkpoint, seen by its beginning and its end alone."""

import json
import zipfile
from pathlib import Path

HEAD = 256  # bytes that are looked at
MOST_HEADER = 100 << 20  # bytes of names in a .safetensors file, the format's own limit


def why_not_whole(path: str | Path, name: str) -> str | None:
    """Return why a file is no whole checkpoint: empty, a text or page, or cut off. Else None.

    A pickle of old torch may be cut off all the same: nothing in it says how long it is.

    Args:
        name: Of the checkpoint; its suffix says whether it is a ``.safetensors`` file.
    """
    path = Path(path)
    size = path.stat().st_size
    with path.open('rb') as file:
        head = file.read(HEAD)
    if not head:
        return 'it is empty'
    if name.endswith('.safetensors'):
        return _why_no_safetensors(path, size)
    if head.startswith(b'PK'):
        return None if zipfile.is_zipfile(path) else 'it is cut off'
    if not head.startswith(b'\x80') and _is_text(head):
        page = 'a web page' if head.lstrip(b'\xef\xbb\xbf \t\r\n').startswith(b'<') else 'a text'
        return f'it is {page}, which begins with {head[:40]!r}'
    return None


def _why_no_safetensors(path: Path, size: int) -> str | None:
    with path.open('rb') as file:
        length = int.from_bytes(file.read(8), 'little')
        if not 2 <= length <= MOST_HEADER:
            file.seek(0)
            return f'it is no .safetensors file, it begins with {file.read(40)!r}'
        header = file.read(length)
    if len(header) < length:
        return 'it is cut off'
    try:
        tensors = json.loads(header)
        ends = [entry['data_offsets'][1] for key, entry in tensors.items() if key[:2] != '__']
        whole = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        return f'its header is damaged ({type(error).__name__})'
    return f'it has {size} of its {whole} bytes' if size < whole else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode()
        if error.start < len(head) - 3:  # else a letter that the end of ``head`` cuts
            return False
    return all(c.isprintable() or c.isspace() for c in text)
