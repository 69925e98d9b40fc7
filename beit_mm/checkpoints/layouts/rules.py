"""How a layout is written down: rules about names, tried in turn."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import EllipsisType

from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion
from beit_mm.checkpoints.layouts.names import CONSTANT, SHARED, num_layers, table_index
from beit_mm.contracts.positions import INDEX, TABLE, Grid


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
