"""Everybody's names for the tensors of a BEiT: one file for each layout, pure functions in it.

Each module has ``NAME``, ``matches(names)``, ``to_ours(state) -> Conversion`` and
``from_ours(state, task, grid) -> Conversion`` (``grid``: patches of an image, needed if it is not
square). Ours is the hub between them: the original's encoder behind ``backbone.``, then ``neck.``
and ``head.`` (see :class:`beit_mm.models.BEiTEncoder`).
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from beit_mm.checkpoints.layouts import huggingface, mmpretrain, mmseg, timm, unilm, unilm_seg, vqkd
from beit_mm.checkpoints.layouts.rules import ENCODER, has_beit_blocks, task_of

OURS = 'beit_mm'
LAYOUTS = {
    layout.NAME: layout for layout in (huggingface, mmseg, mmpretrain, timm, unilm, unilm_seg, vqkd)
}

# What holds the named tensors; an average of the weights is read where there is nothing else.
WRAPPERS = ('state_dict', 'model', 'module', 'ema_state_dict', 'model_ema', 'state_dict_ema')
COMPILED = re.compile(r'(?<![^.])_orig_mod\.')


def detect(names: Collection[str]) -> str | None:
    """Return the layout of these names: one of ``LAYOUTS``, ``beit_mm``, or None if no BEiT."""
    names = set(names)
    for layout in LAYOUTS.values():
        if layout.matches(names):
            return layout.NAME
    for prefix in ('backbone.', ''):
        own = prefix or all(re.fullmatch(ENCODER, name) for name in names)
        if has_beit_blocks(names, prefix) and own:
            return OURS
    return None


def weights_of(checkpoint: Any) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint, without what wraps them (see :func:`unwrap`)."""
    return unwrap(checkpoint)[0]


def unwrap(checkpoint: Any) -> tuple[dict[str, Tensor], list[str]]:
    """Return the named tensors, and what was around them: a key of ``WRAPPERS``, parts of names.

    Removed from the names are the ``module.`` that a data-parallel model or an average puts before
    each, and the ``_orig_mod.`` of what ``torch.compile`` has compiled, wherever it stands.
    """
    around = []
    if not isinstance(checkpoint, Mapping):
        return {}, around
    for key in WRAPPERS:
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            around.append(key)
            break
    weights = {n: t for n, t in checkpoint.items() if isinstance(n, str) and isinstance(t, Tensor)}
    plain = {COMPILED.sub('', name): tensor for name, tensor in weights.items()}
    if len(plain) == len(weights) and list(plain) != list(weights):
        weights = plain
        around.append('_orig_mod.')
    while weights and all(name.startswith('module.') for name in weights):
        weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
        around.append('module.')
    return weights, around
