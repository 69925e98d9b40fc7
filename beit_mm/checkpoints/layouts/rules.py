"""How a layout is written down: rules about names, tried in turn."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.contracts.errors import UserError
from beit_mm.contracts.positions import (
    INDEX,
    TABLE,
    Grid,
    relative_position_index,
    square_grid,
    table_length,
)

SHARED = f'backbone.rel_pos_bias.{TABLE}'
CONSTANT = 'a constant that follows from the patch grid'
TOKENIZER = 'the tokenizer is loaded from its own checkpoint'

# Names of the encoder itself, as the original and timm write them.
ENCODER = (
    r'(?:cls_token|mask_token|pos_embed|patch_embed\.proj\.(?:weight|bias)'
    r'|blocks\.\d+\..+|rel_pos_bias\..+|norm\.(?:weight|bias))'
)


def has_beit_blocks(names: Collection[str], prefix: str = '') -> bool:
    """Return whether there are blocks with the original's names and the marks of BEiT."""
    block = f'{prefix}blocks.0.'
    marks = (f'{block}attn.q_bias', f'{block}gamma_1', f'{block}attn.{TABLE}')
    return (
        f'{prefix}patch_embed.proj.weight' in names
        and f'{block}attn.qkv.weight' in names
        and f'{block}attn.qkv.bias' not in names  # ViT, DeiT and MAE have a bias of the key
        and any(mark in names for mark in marks)
    )


def num_layers(names: Iterable[str], prefix: str) -> int:
    """Count the blocks under ``prefix``, for example ``backbone.blocks.``."""
    numbers = [n[len(prefix) :].split('.')[0] for n in names if n.startswith(prefix)]
    return 1 + max(map(int, numbers), default=-1)


def task_of(names: Iterable[str]) -> str:
    """Return what a checkpoint of ours was trained for, by the head it has."""
    names = set(names)
    if 'head.proj.weight' in names:
        return 'pretrain'
    if 'head.fc.weight' in names:
        return 'classification'
    if any(name.startswith('decode_head.') for name in names):
        return 'segmentation'
    return 'backbone'


def note_pooling(conversion: Conversion) -> Conversion:
    """Note of a classifier of ours without ``neck.norm`` that its pooling is another one."""
    names = conversion.result
    if 'head.fc.weight' in names and 'neck.norm.weight' not in names:
        conversion.notes.append(
            'head.fc has no norm of the mean patch before it, so it classifies the class token, '
            'or a mean of patches without that norm. Which of them, no tensor says, and no neck '
            'of beit_mm does it: behind PatchMeanNeck its logits are wrong'
        )
    return conversion


def table_index(length: int, grid: Grid | None = None) -> Tensor:
    """Return the index of a table with ``length`` entries, of a square where no grid is said.

    Raises:
        UserError: The table is that of another grid.
    """
    grid = grid or square_grid(length)
    if grid is None or table_length(grid) != length:
        raise UserError(
            f'A table of {length} relative positions does not fit a grid of {grid or "square"} '
            'patches; say the patch grid (grid=(h, w), or --source-img-size H W of convert.py)'
        )
    return relative_position_index(grid)


@dataclass(frozen=True)
class Drop:
    """The tensor is left out; the report says why."""

    why: str


# What becomes of a name that matches: a new name, in which \1 is the first group, or a function of
# the match that returns it; several names; no place. ``...`` leaves it to the caller.
Target = str | Callable[[re.Match], str] | list[str] | Drop | EllipsisType | None
Rules = Mapping[str, Target]

DROP_INDEX = {rf'.*{INDEX}': Drop(CONSTANT)}


def convert(
    state: Mapping[str, Tensor], rules: Rules, otherwise: str, alias: Callable[[str], str] = str
) -> Conversion:
    """Apply to each tensor the first rule whose pattern matches its whole name.

    Args:
        otherwise: Why tensors are dropped that no rule has a place for.
        alias: The name that the rules are about.
    """
    conversion = Conversion(state)
    for name in state:
        matches = ((re.fullmatch(pattern, alias(name)), rules[pattern]) for pattern in rules)
        match, target = next((pair for pair in matches if pair[0]), (None, None))
        if target is None or isinstance(target, Drop):
            conversion.drop(name, otherwise if target is None else target.why)
        elif isinstance(target, list):
            conversion.expand(name, target)
        elif target is not ...:
            conversion.move(name, target(match) if callable(target) else match.expand(target))
    return conversion


def without_pretraining(state: Mapping[str, Tensor], table: str) -> Rules:
    """Return the rules for a model of ours that masks nothing and has a table in each layer.

    Args:
        table: Name of a layer's table, with {} for the number of the layer.
    """
    layers = range(num_layers(state, 'backbone.blocks.'))
    return {
        re.escape(SHARED): [table.format(layer) for layer in layers],
        r'backbone\.mask_token': Drop('only pre-training masks patches'),
    }


def add_index(conversion: Conversion, grid: Grid | None) -> Conversion:
    """Make the constant that other code stores beside each table."""
    for name, tensor in list(conversion.result.items()):
        if name.endswith(TABLE):
            index = table_index(len(tensor), grid)
            conversion.make(name.replace(TABLE, INDEX), index, CONSTANT)
    return conversion
