"""mmseg's segmentors with a ``BEiT`` backbone, and what its ``beit2mmseg.py`` writes.

Its heads are ours too, since a segmentor of ours is mmseg's ``EncoderDecoder``; they keep their
names. The converted files of ``beit2mmseg.py`` have the backbone's names without prefix, and the
patch embedding twice.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.openmmlab import ENCODER, is_bare_vit, is_beit_block, ours, theirs
from beit_mm.checkpoints.layouts.rules import (
    DROP_INDEX,
    Drop,
    add_index,
    convert,
    without_pretraining,
)
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.positions import TABLE, Grid

NAME = 'mmseg'
HEADS = r'(decode_head|auxiliary_head|neck)\..+'


def matches(names: Collection[str]) -> bool:
    if is_bare_vit(names):
        return False
    for prefix in ('', 'backbone.'):
        if f'{prefix}patch_embed.projection.weight' in names:
            head = not prefix or any(n.startswith(('decode_', 'auxiliary_')) for n in names)
            return head and is_beit_block(names, prefix)
    return False


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in state) else ''
    inside = prefix.replace('.', r'\.')
    rules = {
        **DROP_INDEX,
        rf'{inside}ln1\.(.+)': r'backbone.norm.\1',
        rf'{inside}({ENCODER})': lambda match: f'backbone.{ours(match[1])}',
        HEADS: r'\g<0>' if prefix else None,
        rf'({inside})?patch_embed\.proj\..+': Drop('the same as patch_embed.projection'),
    }
    return convert(state, rules, 'not a part of the backbone').finish()


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Give each layer a table, as mmseg's backbone has no shared one.

    Raises:
        UserError: The encoder has absolute positions, or an MLP that mmseg's cannot have.
    """
    hidden = state.get('backbone.blocks.0.mlp.fc1.weight')
    if hidden is not None and hidden.ndim == 2 and hidden.shape[0] % hidden.shape[1]:
        raise UserError(
            f"mmseg's BEiT takes whole numbers as mlp_ratio, but the checkpoint's MLP has "
            f'{hidden.shape[0]} channels for {hidden.shape[1]} (embed_dims)'
        )
    if 'backbone.pos_embed' in state:
        raise UserError("mmseg's BEiT has no absolute positions, but the checkpoint has them")
    rules = {
        **without_pretraining(state, f'backbone.layers.{{}}.attn.{TABLE}'),
        r'backbone\.norm\.(.+)': r'backbone.ln1.\1',
        r'backbone\.(.+)': lambda match: f'backbone.{theirs(match[1])}',
        HEADS: r'\g<0>' if task == 'segmentation' else None,
    }
    why = f'it has no place in a segmentor, it is of a model for {task}'
    return add_index(convert(state, rules, why), grid).finish()
