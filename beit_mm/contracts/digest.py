"""Digests of configs and weights, by which caches and checkpoints know what they were made of."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from beit_mm.contracts.tensor_names import renamed

# Today's names in state dicts of tokenizers, and those that digests have counted from the start:
# token caches and checkpoints of before keep their digests.
FORMER_NAMES = {
    'initialized': 'initialised',
    'codebook.initialized': 'codebook.initialised',
    'quantizer.initialized': 'codebook.initialised',
    'quantizer.weight': 'codebook.weight',
    'quantizer.codebook': 'codebook',
    'quantizer.logit_norm.': 'logit_norm.',
    'quantizer.vq.': 'quantizer.',
    'kmeans.centers': 'kmeans.centres',
}


def plain(value: Any) -> Any:
    """Return ``value`` as JSON has it: dicts with sorted keys, lists, ``repr`` of anything else."""
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def text_sha256(value: Any) -> str:
    """Return the SHA-256 of the JSON text of :func:`plain`."""
    return hashlib.sha256(json.dumps(plain(value)).encode()).hexdigest()


def module_sha256(module: nn.Module, config: Mapping, state: Mapping | None = None) -> str:
    """Return the SHA-256 of the class of a module, its options and its state dict.

    It does not depend on the device, nor on what :func:`options_of` leaves out.

    Args:
        state: Replaces the state dict of ``module``, for example by an average of its weights.
    """
    digest = hashlib.sha256(text_sha256([type(module).__name__, options_of(config)]).encode())
    _update(digest, module.state_dict() if state is None else state)
    return digest.hexdigest()


def options_of(config: Mapping) -> dict:
    """Return the options of a module that its digest counts.

    The source of its weights (``init_cfg``), the loading of images (``data_preprocessor``), scope
    and type are left out.
    """
    ignored = ('type', 'init_cfg', 'data_preprocessor', '_scope_')
    return {key: sourceless(value) for key, value in config.items() if key not in ignored}


def sourceless(value: Any) -> Any:
    """Return a config without ``init_cfg``, at any depth."""
    if isinstance(value, Mapping):
        return {key: sourceless(part) for key, part in value.items() if key != 'init_cfg'}
    return [sourceless(part) for part in value] if isinstance(value, list | tuple) else value


def weights_sha256(state: Mapping) -> str:
    """Return the SHA-256 of names, types, shapes and values of a state dict."""
    digest = hashlib.sha256()
    _update(digest, state)
    return digest.hexdigest()


def tokens_key(tokenizer: str, pixels: Mapping) -> int:
    """Return 60 bits of what tokens depend on besides the images, a number for a batch to carry.

    Args:
        tokenizer: Its SHA-256.
        pixels: How its view is made from the loaded pixels (``token_pixels``).
    """
    return int(text_sha256([tokenizer, pixels])[:15], 16)


def _update(digest, state: Mapping) -> None:
    state = {renamed(name, FORMER_NAMES): value for name, value in state.items()}
    for name, value in sorted(state.items()):
        if isinstance(value, Tensor):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            values = value.detach().cpu().contiguous().flatten()
            digest.update(values.view(torch.uint8).numpy())
        else:
            digest.update(f'{name} {value!r}'.encode())
