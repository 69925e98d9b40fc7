"""The original's segmentors (unilm ``beit/semantic_segmentation``): ours, but for the pyramid.

The original's backbone makes the feature pyramid itself, in ``fpn1`` and ``fpn2``; ours leaves it
to mmseg's ``Feature2Pyramid``. Backbone and heads have the same names in both.
"""

from collections.abc import Collection, Mapping

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import (
    INDEX,
    NOT_NEEDED,
    SHARED,
    TABLE,
    has_beit_blocks,
    num_layers,
    table_index,
)

NAME = 'unilm_seg'
PYRAMID = {'backbone.fpn1.': 'neck.upsample_4x.', 'backbone.fpn2.': 'neck.upsample_2x.'}
HEADS = ('decode_head.', 'auxiliary_head.')


def matches(names: Collection[str]) -> bool:
    pyramid = any(name.startswith(tuple(PYRAMID)) for name in names)
    return pyramid and has_beit_blocks(names, 'backbone.')


def to_ours(state: Mapping[str, Tensor]) -> Conversion:
    conversion = Conversion(state)
    for name in state:
        start = next((old for old in PYRAMID if name.startswith(old)), None)
        if name.endswith(INDEX):
            conversion.drop(name, NOT_NEEDED)
        elif start is not None:
            conversion.move(name, name.replace(start, PYRAMID[start], 1))
        else:
            conversion.move(name, name)
    return conversion.finish()


def from_ours(
    state: Mapping[str, Tensor], task: str, grid: tuple[int, int] | None = None
) -> Conversion:
    """With a table in each block, as the original fine-tunes."""
    conversion = Conversion(state)
    back = {ours: theirs for theirs, ours in PYRAMID.items()}
    layers = num_layers(state, 'backbone.blocks.')
    for name in state:
        start = next((ours for ours in back if name.startswith(ours)), None)
        if name == SHARED:
            conversion.expand(name, [f'backbone.blocks.{i}.attn.{TABLE}' for i in range(layers)])
        elif name == 'backbone.mask_token':
            conversion.drop(name, 'only pre-training masks patches')
        elif start is not None and task == 'segmentation':
            conversion.move(name, name.replace(start, back[start], 1))
        elif name.startswith('backbone.') or task == 'segmentation' and name.startswith(HEADS):
            conversion.move(name, name)
        else:
            conversion.drop(name, f'it has no place in a segmentor, it is of a model for {task}')
    for name, tensor in list(conversion.result.items()):
        if name.endswith(TABLE):
            conversion.make(name.replace(TABLE, INDEX), table_index(len(tensor), grid), NOT_NEEDED)
    return conversion.finish()
