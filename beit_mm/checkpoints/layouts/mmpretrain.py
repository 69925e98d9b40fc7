"""mmpretrain: ``BEiT`` pre-training (v1 and v2), classifiers with a ``BEiTViT``, or that alone.

Its pre-training normalizes before the head in ``backbone.ln1`` (v1) or ``neck.norm`` (v2), its
classifier after the mean in ``backbone.ln2``; in ours each of them is ``neck.norm``.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.openmmlab import ENCODER, is_bare_vit, is_beit_block, ours, theirs
from beit_mm.checkpoints.layouts.rules import (
    DROP_INDEX,
    TOKENIZER,
    Drop,
    add_index,
    convert,
    note_pooling,
    without_pretraining,
)
from beit_mm.contracts.positions import TABLE, Grid

NAME = 'mmpretrain'


def matches(names: Collection[str]) -> bool:
    prefix = '' if is_bare_vit(names) else 'backbone.'
    return (
        f'{prefix}patch_embed.projection.weight' in names
        and is_beit_block(names, prefix)
        and f'{prefix}layers.0.attn.qkv.weight' in names
        and f'{prefix}layers.0.attn.qkv.bias' not in names  # their VisionTransformer
        and not any(name.startswith(('decode_head.', 'auxiliary_head.')) for name in names)
    )


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    prefix = '' if is_bare_vit(state) else 'backbone.'
    inside = prefix.replace('.', r'\.')
    pretrained_v1 = 'head.cls_head.weight' in state and 'neck.norm.weight' not in state
    before_head = pretrained_v1 and f'{prefix}ln2.weight' not in state
    rules = {
        **DROP_INDEX,
        rf'{inside}ln2\.(.+)': r'neck.norm.\1',
        rf'{inside}ln1\.(.+)': r'neck.norm.\1' if before_head else r'backbone.norm.\1',
        rf'{inside}({ENCODER})': lambda match: f'backbone.{ours(match[1])}',
        r'neck\.patch_aggregation\.(.+)': lambda match: f'neck.blocks.{ours(match[1])}',
        r'(neck\.norm|head\.fc)\..+': r'\g<0>',
        r'head\.cls_head\.(.+)': r'head.proj.\1',
        r'target_generator\..+': Drop(TOKENIZER),
    }
    return note_pooling(convert(state, rules, 'not a part of BEiT').finish())


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Convert to a ``BEiT`` for pre-training, else to a classifier with a table in each layer."""
    pretrain = task == 'pretrain'
    second = any(name.startswith('neck.blocks.') for name in state)
    norm = None if task == 'backbone' else r'backbone.ln2.\1'
    if pretrain:
        norm = r'neck.norm.\1' if second else r'backbone.ln1.\1'
    rules = {
        **({} if pretrain else without_pretraining(state, f'backbone.layers.{{}}.attn.{TABLE}')),
        r'backbone\.norm\.(.+)': r'backbone.ln1.\1',
        r'backbone\.(.+)': lambda match: f'backbone.{theirs(match[1])}',
        r'neck\.blocks\.(.+)': (
            (lambda match: f'neck.patch_aggregation.{theirs(match[1])}') if pretrain else None
        ),
        r'neck\.norm\.(.+)': norm,
        r'head\.proj\.(.+)': r'head.cls_head.\1' if pretrain else None,
        r'head\.fc\..+': r'\g<0>' if task == 'classification' else None,
        r'tokenizer\..+': Drop(TOKENIZER),
    }
    return add_index(convert(state, rules, f'it has no place in a model for {task}'), grid).finish()
