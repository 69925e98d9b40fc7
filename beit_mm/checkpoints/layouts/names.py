"""The names that layouts share: ours, which are the original's behind ``backbone.``."""

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from beit_mm.checkpoints.conversion import Conversion

TABLE = 'relative_position_bias_table'
INDEX = 'relative_position_index'
SHARED = f'backbone.rel_pos_bias.{TABLE}'
NOT_NEEDED = 'a constant that follows from the patch grid'
TOKENIZER = 'the tokenizer is loaded from its own checkpoint'

# Names of the encoder itself, as the original and timm write them.
ENCODER = re.compile(
    r'(cls_token|mask_token|pos_embed|patch_embed\.proj\.(weight|bias)'
    r'|blocks\.\d+\..+|rel_pos_bias\..+|norm\.(weight|bias))'
)


def has_beit_blocks(names: Collection[str], prefix: str = '') -> bool:
    """Blocks with the original's names and BEiT's marks, which other Transformers don't have."""
    block = f'{prefix}blocks.0.'
    marks = (f'{block}attn.q_bias', f'{block}gamma_1', f'{block}attn.{TABLE}')
    return (
        f'{prefix}patch_embed.proj.weight' in names
        and f'{block}attn.qkv.weight' in names
        and f'{block}attn.qkv.bias' not in names  # ViT, DeiT and MAE have a bias of the key
        and any(mark in names for mark in marks)
    )


def num_layers(names: Iterable[str], prefix: str) -> int:
    """Blocks under ``prefix``, for example ``backbone.blocks.``."""
    numbers = [n[len(prefix) :].split('.')[0] for n in names if n.startswith(prefix)]
    return 1 + max(map(int, numbers), default=-1)


def task_of(names: Iterable[str]) -> str:
    """What a checkpoint of ours was trained for, by the head it has."""
    names = set(names)
    if 'head.proj.weight' in names:
        return 'pretrain'
    if 'head.fc.weight' in names:
        return 'classification'
    if any(name.startswith('decode_head.') for name in names):
        return 'segmentation'
    return 'backbone'


def note_pooling(conversion: Conversion) -> Conversion:
    """Says of a classifier of ours without ``neck.norm`` that its pooling is another one."""
    names = conversion.result
    if 'head.fc.weight' in names and 'neck.norm.weight' not in names:
        conversion.notes.append(
            'head.fc has no norm of the mean patch before it, so it classifies the class token, '
            'or a mean of patches without that norm. Which of them, no tensor says, and no neck '
            'of beit_mm does it: behind PatchMeanNeck its logits are wrong'
        )
    return conversion


def table_index(length: int, grid: tuple[int, int] | None = None) -> Tensor:
    """(1 + N, 1 + N) entries of the table of a grid, [CLS] first; without ``grid`` of a square."""
    if grid is None:
        side = (int((length - 3) ** 0.5 + 0.5) + 1) // 2
        grid = (side, side)
    h, w = grid
    if (2 * h - 1) * (2 * w - 1) != length - 3:
        raise ValueError(
            f'A table of {length} relative positions is not that of {h} x {w} patches; say the '
            'patch grid (grid=(h, w), or --source-img-size H W of convert.py)'
        )
    y, x = (t.flatten() for t in torch.meshgrid(torch.arange(h), torch.arange(w), indexing='ij'))
    offsets = (y[:, None] - y + h - 1) * (2 * w - 1) + x[:, None] - x + w - 1
    index = torch.full((1 + h * w, 1 + h * w), length - 2)
    index[0] = length - 3
    index[0, 0] = length - 1
    index[1:, 1:] = offsets
    return index


def with_prefix(names: Mapping[str, Tensor], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]
