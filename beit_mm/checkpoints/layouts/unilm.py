"""The original code, microsoft/unilm ``beit`` and ``beit2``, and timm, which uses its names.

Pre-training has ``mask_token``, one shared table, ``norm`` and ``lm_head``, v2 also
``cls_pt_layers``, and with ``shared_lm_head=False`` ``cls_pt_norm`` and ``cls_pt_lm_head``;
fine-tuning has a table in each block, ``fc_norm`` and ``head``. The encoder's names are those of
ours without ``backbone.``.
"""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.rules import (
    DROP_INDEX,
    ENCODER,
    TOKENIZER,
    Drop,
    add_index,
    convert,
    has_beit_blocks,
    note_pooling,
    without_pretraining,
)
from beit_mm.contracts.positions import INDEX, TABLE, Grid

NAME = 'unilm'
HEADS = ('norm.', 'lm_head.', 'fc_norm.', 'head.', 'cls_pt_layers.', 'cls_pt_norm.', 'cls_pt_lm')


def matches(names: Collection[str]) -> bool:
    """Return whether there is more than our encoder without prefix, which has the same names."""
    if not has_beit_blocks(names):
        return False
    own = [n for n in names if not re.fullmatch(ENCODER, n)]
    index = any(n.endswith(INDEX) for n in names)
    return index or any(n.startswith(HEADS) for n in own)


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    """Rename ``lm_head`` to ``head.proj``, with ``norm`` before it, and ``head`` to ``head.fc``."""
    last_norm = 'neck' if 'lm_head.weight' in state else 'backbone'
    rules = {
        **DROP_INDEX,
        r'norm\.(weight|bias)': rf'{last_norm}.norm.\1',
        ENCODER: r'backbone.\g<0>',
        r'lm_head\.(.+)': r'head.proj.\1',
        r'fc_norm\.(.+)': r'neck.norm.\1',
        r'head\.(.+)': r'head.fc.\1',
        r'cls_pt_layers\.(.+)': r'neck.blocks.\1',
        r'cls_pt_norm\.(.+)': r'neck.aggregation_norm.\1',
        r'cls_pt_lm_head\.(.+)': r'term_heads.aggregation.proj.\1',
    }
    return note_pooling(convert(state, rules, 'not a part of BEiT').finish())


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Convert for the original code; all tasks but pre-training get a table in each block."""
    return add_index(names_from_ours(state, task), grid).finish()


def names_from_ours(state: Mapping[str, Tensor], task: str) -> Conversion:
    pretrain = task == 'pretrain'
    norm = {'pretrain': r'norm.\1', 'backbone': None}.get(task, r'fc_norm.\1')
    rules = {
        **({} if pretrain else without_pretraining(state, f'blocks.{{}}.attn.{TABLE}')),
        r'backbone\.(.+)': r'\1',
        r'neck\.norm\.(.+)': norm,
        r'neck\.blocks\.(.+)': r'cls_pt_layers.\1' if pretrain else None,
        r'neck\.aggregation_norm\.(.+)': r'cls_pt_norm.\1' if pretrain else None,
        r'head\.proj\.(.+)': r'lm_head.\1' if pretrain else None,
        r'term_heads\.aggregation\.proj\.(.+)': r'cls_pt_lm_head.\1' if pretrain else None,
        r'head\.fc\.(.+)': r'head.\1' if task == 'classification' else None,
        r'tokenizer\..+': Drop(TOKENIZER),
    }
    return convert(state, rules, f'it has no place in a model for {task}')
