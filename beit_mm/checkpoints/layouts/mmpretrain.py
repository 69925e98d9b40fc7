"""mmpretrain: ``BEiT`` pre-training (v1 and v2), classifiers with a ``BEiTViT``, or that alone.

Its pre-training normalizes before the head in ``backbone.ln1`` (v1) or ``neck.norm`` (v2), its
classifier after the mean in ``backbone.ln2``; in ours each of them is ``neck.norm``.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import (
    INDEX,
    NOT_NEEDED,
    SHARED,
    TABLE,
    TOKENIZER,
    note_pooling,
    num_layers,
    table_index,
)
from beit_mm.checkpoints.layouts.openmmlab import ENCODER, is_bare_vit, ours, theirs

NAME = 'mmpretrain'


def matches(names: Collection[str]) -> bool:
    prefix = '' if is_bare_vit(names) else 'backbone.'
    return (
        f'{prefix}patch_embed.projection.weight' in names
        and f'{prefix}layers.0.ffn.layers.0.0.weight' in names
        and f'{prefix}layers.0.attn.qkv.weight' in names
        and f'{prefix}layers.0.attn.qkv.bias' not in names  # their VisionTransformer
        and (f'{prefix}layers.0.gamma_1' in names or f'{prefix}layers.0.attn.q_bias' in names)
        and not any(name.startswith(('decode_head.', 'auxiliary_head.')) for name in names)
    )


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    conversion = Conversion(state)
    prefix = 'backbone.' if is_bare_vit(state) else ''  # that the names lack
    mean_norm = f'{"" if prefix else "backbone."}ln2.weight' in state
    pretrained_v1 = 'head.cls_head.weight' in state and 'neck.norm.weight' not in state
    for name in state:
        full = prefix + name
        short = full.removeprefix('backbone.')
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif full.startswith('backbone.ln2.'):
            conversion.move(name, full.replace('backbone.ln2', 'neck.norm'))
        elif full.startswith('backbone.ln1.'):
            before_head = pretrained_v1 and not mean_norm
            target = 'neck.norm' if before_head else 'backbone.norm'
            conversion.move(name, full.replace('backbone.ln1', target))
        elif short != full and ENCODER.fullmatch(short):
            conversion.move(name, f'backbone.{ours(short)}')
        elif name.startswith('neck.patch_aggregation.'):
            block = name.removeprefix('neck.patch_aggregation.')
            conversion.move(name, f'neck.blocks.{ours(block)}')
        elif name.startswith(('neck.norm.', 'head.fc.')):
            conversion.move(name, name)
        elif name.startswith('head.cls_head.'):
            conversion.move(name, name.replace('cls_head', 'proj'))
        elif name.startswith('target_generator.'):
            conversion.drop(name, TOKENIZER)
        else:
            conversion.drop(name, 'not a part of BEiT')
    return note_pooling(conversion.finish())


def from_ours(
    state: Mapping[str, Tensor], task: str, grid: tuple[int, int] | None = None
) -> Conversion:
    """Pre-training as ``BEiT``, everything else as a classifier with a table in each layer."""
    conversion = Conversion(state)
    pretrain = task == 'pretrain'
    second = any(name.startswith('neck.blocks.') for name in state)
    layers = num_layers(state, 'backbone.blocks.')
    for name in state:
        short = name.removeprefix('backbone.')
        if name == SHARED and not pretrain:
            conversion.expand(name, [f'backbone.layers.{i}.attn.{TABLE}' for i in range(layers)])
        elif name == 'backbone.mask_token' and not pretrain:
            conversion.drop(name, 'only pre-training masks patches')
        elif name.startswith('backbone.norm.'):
            conversion.move(name, name.replace('norm', 'ln1'))
        elif short != name:
            conversion.move(name, f'backbone.{theirs(short)}')
        elif name.startswith('neck.blocks.') and pretrain:
            block = theirs(name.removeprefix('neck.blocks.'))
            conversion.move(name, f'neck.patch_aggregation.{block}')
        elif name.startswith('neck.norm.') and task != 'backbone':
            norm = 'backbone.ln2' if not pretrain else 'neck.norm' if second else 'backbone.ln1'
            conversion.move(name, name.replace('neck.norm', norm))
        elif name.startswith('head.proj.') and pretrain:
            conversion.move(name, name.replace('proj', 'cls_head'))
        elif name.startswith('head.fc.') and task == 'classification':
            conversion.move(name, name)
        elif name.startswith('tokenizer.'):
            conversion.drop(name, TOKENIZER)
        else:
            conversion.drop(name, f'it has no place in a model for {task}')
    for name, tensor in list(conversion.result.items()):
        if name.endswith(TABLE):
            conversion.make(name.replace(TABLE, INDEX), table_index(len(tensor), grid), NOT_NEEDED)
    return conversion.finish()
