"""mmseg's segmentors with a ``BEiT`` backbone, and what its ``beit2mmseg.py`` writes.

Its heads are ours too, since a segmentor of ours is mmseg's ``EncoderDecoder``; they keep their
names. The converted files of ``beit2mmseg.py`` have the backbone's names without prefix, and the
patch embedding twice.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import (
    INDEX,
    NOT_NEEDED,
    SHARED,
    TABLE,
    num_layers,
    table_index,
)
from beit_mm.checkpoints.layouts.openmmlab import ENCODER, is_bare_vit, ours, theirs

NAME = 'mmseg'
HEADS = ('decode_head.', 'auxiliary_head.', 'neck.')


def matches(names: Collection[str]) -> bool:
    if is_bare_vit(names):
        return False
    for prefix in ('', 'backbone.'):
        if f'{prefix}patch_embed.projection.weight' in names:
            head = not prefix or any(n.startswith(('decode_', 'auxiliary_')) for n in names)
            beit = f'{prefix}layers.0.ffn.layers.0.0.weight' in names
            block = f'{prefix}layers.0.'
            return head and beit and (f'{block}gamma_1' in names or f'{block}attn.q_bias' in names)
    return False


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    conversion = Conversion(state)
    prefix = 'backbone.' if any(name.startswith('backbone.') for name in state) else ''
    for name in state:
        short = name.removeprefix(prefix)
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif short.startswith('ln1.'):
            conversion.move(name, f'backbone.norm.{short[4:]}')
        elif name.startswith(prefix) and ENCODER.fullmatch(short):
            conversion.move(name, f'backbone.{ours(short)}')
        elif prefix and name.startswith(HEADS):
            conversion.move(name, name)
        elif short.startswith('patch_embed.proj.'):
            conversion.drop(name, 'the same as patch_embed.projection')
        else:
            conversion.drop(name, 'not a part of the backbone')
    return conversion.finish()


def from_ours(
    state: Mapping[str, Tensor], task: str, grid: tuple[int, int] | None = None
) -> Conversion:
    """A table in each layer, as mmseg's backbone has no shared one."""
    conversion = Conversion(state)
    layers = num_layers(state, 'backbone.blocks.')
    hidden = state.get('backbone.blocks.0.mlp.fc1.weight')
    if hidden is not None and hidden.ndim == 2 and hidden.shape[0] % hidden.shape[1]:
        raise ValueError(
            f"mmseg's BEiT takes whole numbers as mlp_ratio, but the checkpoint's MLP has "
            f'{hidden.shape[0]} channels for {hidden.shape[1]} (embed_dims)'
        )
    for name in state:
        short = name.removeprefix('backbone.')
        if name == SHARED:
            conversion.expand(name, [f'backbone.layers.{i}.attn.{TABLE}' for i in range(layers)])
        elif name == 'backbone.mask_token':
            conversion.drop(name, 'only pre-training masks patches')
        elif name == 'backbone.pos_embed':
            raise ValueError("mmseg's BEiT has no absolute positions, but the checkpoint has them")
        elif name.startswith('backbone.norm.'):
            conversion.move(name, name.replace('norm', 'ln1'))
        elif short != name:
            conversion.move(name, f'backbone.{theirs(short)}')
        elif task == 'segmentation' and name.startswith(HEADS):
            conversion.move(name, name)
        else:
            conversion.drop(name, f'it has no place in a segmentor, it is of a model for {task}')
    for name, tensor in list(conversion.result.items()):
        if name.endswith(TABLE):
            conversion.make(name.replace(TABLE, INDEX), table_index(len(tensor), grid), NOT_NEEDED)
    return conversion.finish()
