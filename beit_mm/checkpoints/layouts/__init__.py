"""Everybody's names for the tensors of a BEiT: one file for each layout, pure functions in it.

Each module has ``NAME``, ``matches(names)``, ``to_ours(state) -> Conversion`` and
``from_ours(state, task, grid) -> Conversion`` (``grid``: patches of an image, needed if it is not
square). Ours is the hub between them: the original's encoder
behind ``backbone.``, then ``neck.`` and ``head.`` (see :class:`beit_mm.models.BEiTEncoder`).
"""

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from . import huggingface, mmpretrain, mmseg, timm, unilm, unilm_seg, vqkd
from .names import ENCODER, has_beit_blocks, task_of

OURS = 'beit_mm'
LAYOUTS = {
    layout.NAME: layout for layout in (huggingface, mmseg, mmpretrain, timm, unilm, unilm_seg, vqkd)
}


def detect(names: Collection[str]) -> str | None:
    """The layout of these names: one of ``LAYOUTS``, ``beit_mm``, or None if it is no BEiT."""
    names = set(names)
    for layout in LAYOUTS.values():
        if layout.matches(names):
            return layout.NAME
    for prefix in ('backbone.', ''):
        if has_beit_blocks(names, prefix) and (prefix or all(map(ENCODER.fullmatch, names))):
            return OURS
    return None


def weights_of(checkpoint: Any) -> dict[str, Tensor]:
    """The named tensors of a checkpoint: in ``state_dict``, ``model`` or ``module``, or itself.

    The ``module.`` that a data-parallel model puts before every name is removed.
    """
    if not isinstance(checkpoint, Mapping):
        return {}
    for key in ('state_dict', 'model', 'module'):
        if isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    weights = {n: t for n, t in checkpoint.items() if isinstance(n, str) and isinstance(t, Tensor)}
    if weights and all(name.startswith('module.') for name in weights):
        weights = {name.removeprefix('module.'): tensor for name, tensor in weights.items()}
    return weights


__all__ = ['LAYOUTS', 'OURS', 'detect', 'task_of', 'weights_of']
