"""Reading and writing of checkpoint files: tensors and plain data, never code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.checkpoints.contents import ForeignContentError, check_plain, tensors_of_module
from beit_mm.checkpoints.find_checkpoint import find_local
from beit_mm.checkpoints.inert_pickle import Object, UnsafeCheckpointError, shown
from beit_mm.checkpoints.layouts import WRAPPERS
from beit_mm.checkpoints.store.atomic_file import open_atomically
from beit_mm.checkpoints.torch_file import read_torch_file
from beit_mm.checkpoints.trust import VARIABLE, drop_config, is_trusted
from beit_mm.contracts.errors import MissingPackageError, UserError, warn

# Where OpenAI's pickled modules belong in a tokenizer that has both.
MODULE_PREFIXES = {'dall_e.encoder.Encoder': 'encoder.', 'dall_e.decoder.Decoder': 'decoder.'}


def read_checkpoint(path: str | Path, map_location: str | Callable | None = 'cpu') -> Any:
    """Read a ``.pth``, ``.pkl``, ``.bin`` or ``.safetensors`` file without running code.

    A work dir stands for its best checkpoint, else its last one; see :func:`find_local`.

    A pickled module gives ``dict(state_dict=...)`` of its tensors. Config texts are left out (see
    :func:`drop_config`); :func:`peek` shows them.

    Raises:
        MissingFileError: There is no such file.
        UnsafeCheckpointError: The file can't be read without running code of its choice.
        UserError: The file is damaged, or a weight is not finite.
    """
    path = find_local(path)
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
    path = find_local(path)
    if path.suffix == '.safetensors':
        return _read_safetensors(path, 'meta')
    return _read_pickle(path, 'meta')


def _read_pickle(path: Path, map_location: str | Callable | None) -> Any:
    try:
        return _read_inertly(path, map_location)
    except UserError:
        if not is_trusted():
            raise
    warn(f'{path}: reading it runs code that it names, as {VARIABLE} or trust_checkpoints() says')
    return torch.load(path, map_location=map_location, weights_only=False)


def _read_inertly(path: Path, map_location: str | Callable | None) -> Any:
    try:
        root, budget = read_torch_file(path, map_location)
        if type(root) is not Object or '_modules' not in root.state:
            check_plain(root, budget)
            return root
        tensors = tensors_of_module(root, budget)
    except ForeignContentError as error:
        raise UnsafeCheckpointError(
            f'{path} was not read, because it holds more than tensors and plain data: {error}. If '
            'it is a checkpoint of yours, save it again with tensors, numbers, strings, lists and '
            f'dicts alone. If you trust its author to run code on this machine, set {VARIABLE}=1 '
            'or use beit_mm.checkpoints.trust_checkpoints()'
        ) from None
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(f'{path} was not read: {error}') from None
    except UserError as error:
        raise UserError(f'{path}: {error}') from None
    except MemoryError:
        raise
    except Exception as error:  # whatever damaged bytes make of a reader
        raise UserError(
            f'{path}: the file is not a checkpoint or is damaged ({_first_line(error)})'
        ) from error
    if not tensors:
        raise UnsafeCheckpointError(f'{path} was not read: it is a pickled module without tensors')
    prefix = MODULE_PREFIXES.get(root.path, '')
    print_log(
        f'{path}: a pickled {shown(root.path)}; took its {len(tensors)} tensors'
        + (f' as {prefix}*' if prefix else '')
        + ', nothing of it was run',
        logger='current',
    )
    return dict(state_dict={prefix + name: tensor for name, tensor in tensors.items()})


def _read_safetensors(path: Path, map_location: str | Callable | None) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingPackageError(f'{path}: this format needs `pip install safetensors`') from None
    device = map_location if isinstance(map_location, (str, torch.device)) else 'cpu'
    try:
        if str(device) == 'meta':  # which the format doesn't know
            return {name: tensor.to('meta') for name, tensor in load_file(str(path)).items()}
        tensors = dict(load_file(str(path), device=str(device)))
    except Exception as error:
        raise UserError(
            f'{path}: not a safetensors file, or damaged ({_first_line(error)})'
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype is torch.bool and tensor.numel() and tensor.view(torch.uint8).max() > 1:
            raise UnsafeCheckpointError(f'{path}: {name!r} has truth values other than 0 and 1')
    return tensors


def must_be_finite(name: str, tensor: Tensor) -> bool:
    """Return whether NaN or infinity in a tensor of a state dict is damage."""
    return tensor.is_floating_point() and not str(name).endswith('attn_mask')  # which hold -inf


def refuse_non_finite(checkpoint: Mapping, source: str) -> None:
    """Raise a UserError if weights are NaN or infinite."""
    if is_trusted():
        return
    groups = [checkpoint[k] for k in WRAPPERS if isinstance(checkpoint.get(k), Mapping)]
    bad = [
        shown(str(name))
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
    name = shown(str(name))
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
    return shown(next(iter(str(error).strip().splitlines()), type(error).__name__), 200)
