"""The original's segmentors (unilm ``beit/semantic_segmentation``): ours, but for the pyramid.

The original's backbone makes the feature pyramid itself, in ``fpn1`` and ``fpn2``; ours leaves it
to mmseg's ``Feature2Pyramid``. Backbone and heads have the same names in both.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.rules import (
    DROP_INDEX,
    add_index,
    convert,
    has_beit_blocks,
    without_pretraining,
)
from beit_mm.contracts.positions import TABLE, Grid

NAME = 'unilm_seg'
SAME = r'\g<0>'


def matches(names: Collection[str]) -> bool:
    pyramid = any(name.startswith(('backbone.fpn1.', 'backbone.fpn2.')) for name in names)
    return pyramid and has_beit_blocks(names, 'backbone.')


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    rules = {
        **DROP_INDEX,
        r'backbone\.fpn1\.(.*)': r'neck.upsample_4x.\1',
        r'backbone\.fpn2\.(.*)': r'neck.upsample_2x.\1',
        r'(?s).*': SAME,
    }
    return convert(state, rules, '').finish()


def from_ours(state: Mapping[str, Tensor], task: str, grid: Grid | None = None) -> Conversion:
    """Give each block a table, as the original fine-tunes."""
    segments = task == 'segmentation'
    rules = {
        **without_pretraining(state, f'backbone.blocks.{{}}.attn.{TABLE}'),
        r'neck\.upsample_4x\.(.*)': r'backbone.fpn1.\1' if segments else None,
        r'neck\.upsample_2x\.(.*)': r'backbone.fpn2.\1' if segments else None,
        r'backbone\..+': SAME,
        r'(decode_head|auxiliary_head)\..+': SAME if segments else None,
    }
    why = f'it has no place in a segmentor, it is of a model for {task}'
    return add_index(convert(state, rules, why), grid).finish()
