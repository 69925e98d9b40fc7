"""Reading and writing of checkpoint files: tensors and plain data, never code."""

import logging
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.checkpoints.config_text import drop_config
from beit_mm.checkpoints.inert_pickle import read_pickled_module
from beit_mm.checkpoints.layouts import WRAPPERS
from beit_mm.checkpoints.safe_globals import safe_globals
from beit_mm.checkpoints.store.atomic_file import open_atomically
from beit_mm.checkpoints.trust import VARIABLE, is_trusted
from beit_mm.contracts.errors import MissingFileError, MissingPackageError, UserError

# Where OpenAI's pickled modules belong in a tokenizer that has both.
MODULE_PREFIXES = {'dall_e.encoder.Encoder': 'encoder.', 'dall_e.decoder.Decoder': 'decoder.'}

MOST_UNPACKED = 10  # times the size of an archive


class UnsafeCheckpointError(UserError):
    """The file names code that reading it would run."""


def read_checkpoint(path: str | Path, map_location: str | Callable | None = 'cpu') -> Any:
    """Read a ``.pth``, ``.pkl``, ``.bin`` or ``.safetensors`` file without running code.

    A pickled module gives ``dict(state_dict=...)`` of its tensors. Config texts are left out (see
    :func:`drop_config`); :func:`peek` shows them.

    Raises:
        MissingFileError: There is no such file.
        UnsafeCheckpointError: The file can't be read without running code of its choice.
        UserError: The file is damaged, or a weight is not finite.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFileError(f'There is no checkpoint {path} (looked in {Path.cwd()})')
    if path.suffix == '.safetensors':
        checkpoint = _read_safetensors(path, map_location)
    else:
        checkpoint = _read_pickle(path, map_location)
    if isinstance(checkpoint, dict):
        drop_config(checkpoint, str(path))
        if str(map_location) != 'meta':  # where no data are asked for
            refuse_non_finite(checkpoint, str(path))
    return checkpoint


def peek(path: str | Path) -> Any:
    """Read names and shapes of a checkpoint: its tensors are on the device ``meta``.

    Config texts are not left out. Raises the errors of :func:`read_checkpoint`.
    """
    path = Path(path).expanduser()
    if path.suffix != '.safetensors' and zipfile.is_zipfile(path):
        _check_archive(path, checksums=False)
        try:
            with torch.serialization.safe_globals(safe_globals()):
                return torch.load(path, map_location='meta', mmap=True, weights_only=True)
        except Exception:
            pass  # pickled modules, and what only the reader can say why it is refused
    return read_checkpoint(path, 'meta')


def _read_pickle(path: Path, map_location: str | Callable | None) -> Any:
    refused = None
    _check_archive(path)
    try:
        with torch.serialization.safe_globals(safe_globals()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        refused = error
    except Exception as error:  # whatever damaged bytes make of the reader
        message = f'{path}: the file is not a checkpoint or is damaged ({_first_line(error)})'
        if 'TorchScript' in str(error):
            message = f'{path} is a TorchScript archive, which holds code; save its state_dict()'
        raise UserError(message) from error
    try:
        name, state_dict = read_pickled_module(path)
    except pickle.UnpicklingError as error:
        if is_trusted():
            print_log(
                f'{path}: reading it runs code that it names, as {VARIABLE} or '
                'trust_checkpoints() says',
                logger='current',
                level=logging.WARNING,
            )
            return torch.load(path, map_location=map_location, weights_only=False)
        with open(path, 'rb') as file:
            start = file.read(40)
        if not start.startswith((b'PK', b'\x80')):  # a zip archive, a pickle
            page = ', a web page' if start.lstrip()[:1] == b'<' else ''
            raise UserError(
                f'{path}: the file is not a checkpoint{page}; it begins with {start!r}. Download '
                'or save it again'
            ) from None
        raise UnsafeCheckpointError(
            f'{path} was not read, because it holds more than tensors and plain data: '
            f'{_first_line(refused)}. If it is a checkpoint of yours, save it again with tensors, '
            'numbers, strings, lists and dicts alone. If you trust its author to run code on this '
            f'machine, set {VARIABLE}=1 or use beit_mm.checkpoints.trust_checkpoints()'
        ) from error
    prefix = MODULE_PREFIXES.get(name, '')
    print_log(
        f'{path}: a pickled {name}; took its {len(state_dict)} tensors'
        + (f' as {prefix}*' if prefix else '')
        + ', nothing of it was run',
        logger='current',
    )
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    return dict(state_dict={prefix + n: t.to(device) for n, t in state_dict.items()})


def _check_archive(path: Path, checksums: bool = True) -> None:
    """Refuse a zip archive that would unpack to much more than it is, or whose bytes have changed.

    torch.load does neither. Files of torch are not compressed; those packed again by others are a
    little smaller than their content.
    """
    if is_trusted() or not zipfile.is_zipfile(path):
        return
    size, damaged = path.stat().st_size, None
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if checksums and unpacked <= MOST_UNPACKED * size:
                damaged = archive.testzip()
    except Exception as error:  # whatever damaged bytes make of the reader
        raise UserError(
            f'{path}: the file is not a checkpoint or is damaged ({_first_line(error)})'
        ) from error
    if unpacked > MOST_UNPACKED * size:
        raise UnsafeCheckpointError(
            f'{path} has {size} bytes and would unpack to {unpacked}, so it was not read; '
            'torch.save does not compress'
        )
    if damaged is not None:
        raise UserError(
            f'{path}: the file is damaged, {damaged} in it has another checksum than when it was '
            'saved (or none, by torch.serialization.set_crc32_options(False)). Download or save it '
            f'again; {VARIABLE}=1 reads it without this check'
        )


def _read_safetensors(path: Path, map_location: str | Callable | None) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingPackageError(f'{path}: this format needs `pip install safetensors`') from None
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        if str(device) == 'meta':  # which the format doesn't know
            return {name: tensor.to('meta') for name, tensor in load_file(str(path)).items()}
        return dict(load_file(str(path), device=str(device)))
    except Exception as error:
        raise UserError(f'{path}: not a safetensors file, or damaged ({error})') from error


def must_be_finite(name: str, tensor: Tensor) -> bool:
    """Return whether NaN or infinity in a tensor of a state dict is damage."""
    return tensor.is_floating_point() and not str(name).endswith('attn_mask')  # which hold -inf


def refuse_non_finite(checkpoint: Mapping, source: str) -> None:
    """Raise a UserError if weights are NaN or infinite."""
    if is_trusted():
        return
    groups = [checkpoint[k] for k in WRAPPERS if isinstance(checkpoint.get(k), Mapping)]
    bad = [
        name
        for group in groups or [checkpoint]
        for name, value in group.items()
        if isinstance(value, Tensor)
        and must_be_finite(name, value)
        and not _is_finite(name, value, source)
    ]
    if bad:
        raise UserError(
            f'{source}: {len(bad)} tensors hold NaN or infinity, the first is {bad[0]}; the '
            'training that wrote them has diverged, take an earlier checkpoint'
        )


def _is_finite(name: str, value: Tensor, source: str) -> bool:
    if value.is_meta:
        raise UserError(
            f'{source}: {name} has a shape but no data (device meta); save the model again after '
            'its weights were loaded'
        )
    try:
        if value.layout is torch.strided:
            storage = value.untyped_storage()
            if value.numel() * value.itemsize > storage.nbytes():  # a small file can say any size
                value = torch.empty(0, dtype=value.dtype, device=value.device).set_(storage)
        value = value.float() if value.dtype.itemsize == 1 else value  # float8 knows no isfinite
        return bool(value.isfinite().all())
    except RuntimeError as error:
        raise UserError(
            f'{source}: {name} is of {value.dtype}, {value.layout}, which is not read; save it '
            'again as dense float32, float16 or bfloat16'
        ) from error


def write_weights(
    weights: Mapping[str, Tensor],
    path: str | Path,
    metadata: dict[str, str] | None = None,
    key: str | None = 'state_dict',
) -> None:
    """Write named tensors to a new ``.safetensors`` file, or with pickle to one of another suffix.

    The file appears whole or not at all. A pickle holds ``{key: weights, 'meta': metadata}``, or
    the weights alone where ``key`` is None.

    Raises:
        FileExistsError: There is a file already; nothing is overwritten.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f'{path} exists already; nothing is overwritten, give another name')
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with open_atomically(path) as file:
        if path.suffix == '.safetensors':
            from safetensors.torch import save_file

            # The format refuses tensors that share memory, such as one table of many layers.
            copies = {name: tensor.clone() for name, tensor in weights.items()}
            save_file(copies, file.name, metadata=dict(format='pt', **(metadata or {})))
        else:
            torch.save(
                weights if key is None else {key: weights, 'meta': dict(metadata or {})}, file
            )


def _first_line(error: BaseException) -> str:
    text = str(error)
    if 'WeightsUnpickler error:' in text:
        text = text.split('WeightsUnpickler error:', 1)[1]
    lines = text.strip().splitlines()
    return lines[0].split(' Please use ')[0].rstrip('. ') if lines else type(error).__name__
