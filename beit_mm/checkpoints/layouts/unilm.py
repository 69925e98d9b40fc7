"""The original code, microsoft/unilm ``beit`` and ``beit2``, and timm, which uses its names.

Pre-training has ``mask_token``, one shared table, ``norm`` and ``lm_head``, v2 also
``cls_pt_layers``; fine-tuning has a table in each block, ``fc_norm`` and ``head``. The encoder's
names are those of ours without ``backbone.``.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import (
    ENCODER,
    INDEX,
    NOT_NEEDED,
    SHARED,
    TABLE,
    TOKENIZER,
    has_beit_blocks,
    note_pooling,
    num_layers,
    table_index,
)

NAME = 'unilm'
HEADS = ('norm.', 'lm_head.', 'fc_norm.', 'head.', 'cls_pt_layers.', 'cls_pt_norm.', 'cls_pt_lm')


def matches(names: Collection[str]) -> bool:
    """Not for an encoder of ours without prefix, which has the encoder's names alone."""
    if not has_beit_blocks(names):
        return False
    own = [n for n in names if not ENCODER.fullmatch(n)]
    index = any(n.endswith(INDEX) for n in names)
    return index or any(n.startswith(HEADS) for n in own)


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    """``lm_head`` -> ``head.proj`` with ``norm`` before it, ``head`` -> ``head.fc``."""
    conversion = Conversion(state)
    pretrained = 'lm_head.weight' in state
    for name in state:
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif name.startswith('norm.') and pretrained:
            conversion.move(name, f'neck.{name}')
        elif ENCODER.fullmatch(name):
            conversion.move(name, f'backbone.{name}')
        elif name.startswith('lm_head.'):
            conversion.move(name, name.replace('lm_head', 'head.proj'))
        elif name.startswith('fc_norm.'):
            conversion.move(name, name.replace('fc_norm', 'neck.norm'))
        elif name.startswith('head.'):
            conversion.move(name, name.replace('head', 'head.fc', 1))
        elif name.startswith('cls_pt_layers.'):
            conversion.move(name, name.replace('cls_pt_layers', 'neck.blocks', 1))
        else:
            conversion.drop(name, 'not a part of BEiT')
    return note_pooling(conversion.finish())


def from_ours(
    state: Mapping[str, Tensor], task: str, grid: tuple[int, int] | None = None
) -> Conversion:
    """For the original code; pre-training keeps a shared table, other tasks get one per block."""
    return _from_ours(state, task, index=True, grid=grid)


def _from_ours(
    state: Mapping[str, Tensor], task: str, index: bool, grid: tuple[int, int] | None = None
) -> Conversion:
    conversion = Conversion(state)
    pretrain = task == 'pretrain'
    layers = num_layers(state, 'backbone.blocks.')
    for name in state:
        short = name.removeprefix('backbone.')
        if name == SHARED and not pretrain:
            conversion.expand(name, [f'blocks.{i}.attn.{TABLE}' for i in range(layers)])
        elif name == 'backbone.mask_token' and not pretrain:
            conversion.drop(name, 'only pre-training masks patches')
        elif short != name:
            conversion.move(name, short)
        elif name.startswith('neck.norm.') and task != 'backbone':
            conversion.move(name, name.replace('neck.norm', 'norm' if pretrain else 'fc_norm'))
        elif name.startswith('neck.blocks.') and pretrain:
            conversion.move(name, name.replace('neck.blocks', 'cls_pt_layers', 1))
        elif name.startswith('head.proj.') and pretrain:
            conversion.move(name, name.replace('head.proj', 'lm_head'))
        elif name.startswith('head.fc.') and task == 'classification':
            conversion.move(name, name.replace('head.fc', 'head'))
        elif name.startswith('tokenizer.'):
            conversion.drop(name, TOKENIZER)
        else:
            conversion.drop(name, f'it has no place in a model for {task}')
    if index:
        for name, tensor in list(conversion.result.items()):
            if name.endswith(TABLE):
                made = name.replace(TABLE, INDEX)
                conversion.make(made, table_index(len(tensor), grid), NOT_NEEDED)
    return conversion.finish()
