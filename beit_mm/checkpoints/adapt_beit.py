"""A checkpoint of a BEiT encoder, adapted to an encoder of other options.

Each function changes a state dict, in which the encoder's names stand behind ``prefix``, and
writes what it did into the log.
"""

import re
from collections.abc import Sequence

import torch
from mmengine.logging import print_log
from torch import Tensor

from beit_mm.contracts.backbone import Backbone
from beit_mm.contracts.errors import UserError, warn
from beit_mm.contracts.load_report import check_load
from beit_mm.contracts.positions import (
    INDEX,
    TABLE,
    Grid,
    patch_grid,
    resize_pos_embed,
    resize_table,
    square_grid,
    table_length,
)

# What a checkpoint of another task may lack.
OPTIONAL = ('mask_token', 'norm.')
# What it may not have more of, since the features would be others without it.
NEEDED = (TABLE, 'pos_embed', 'gamma_', 'q_bias', 'v_bias')
# Values of ``adapt_channels``.
METHODS = "'mean', 'tile', or for each channel the number of one in the checkpoint, 'mean' or None"
# Names of mmpretrain and mmseg, which stand beside ours in a checkpoint of theirs.
THEIRS = re.compile(r'(layers\.\d+|patch_embed\.projection|ln[12])\.')


def adapt_beit(
    encoder: Backbone, state_dict: dict, prefix: str, is_pretrained: bool = False
) -> None:
    """Adapt ``state_dict`` to ``encoder``, and report what it will find there.

    Positions are resized, a shared table is copied to every layer that has its own, the patch
    projection is made for other channels. Positions that the checkpoint was trained without start
    at zero, which is the same function. Foreign names and constants are removed.

    Args:
        is_pretrained: The file is the start of a training (``init_cfg``), so that
            ``pretrained_img_size`` is about it; a resumed one has the encoder's own grid.

    Raises:
        UserError: Channels or positions do not fit, and the config does not say how to adapt them.
        IncompleteCheckpointError: See :func:`check_load`.
    """
    for name in [n for n in state_dict if n.startswith(prefix) and n.endswith(INDEX)]:
        del state_dict[name]  # a constant that other implementations store
    expand_shared_table(encoder, state_dict, prefix)
    fill_positions(encoder, state_dict, prefix)
    for name, own in position_tables(encoder).items():
        stored = state_dict.get(prefix + name)
        transposed = is_pretrained and _is_transposed(encoder, name)
        if stored is not None and (stored.shape != own.shape or transposed):
            state_dict[prefix + name] = _resize(encoder, name, stored, encoder.pretrained_grid)
    for name in [n for n in state_dict if n.startswith(prefix)]:
        if THEIRS.match(name[len(prefix) :]):
            del state_dict[name]
    adapt_channels(encoder, state_dict, prefix)
    check_load(
        encoder,
        state_dict,
        prefix,
        optional=OPTIONAL,
        needed=NEEDED,
        may_be_absent=prefix != '' and not prefix.endswith('backbone.'),
        depth=2,
    )


def resize_positions(
    encoder: Backbone, state_dict: dict, prefix: str, img_size: Sequence[int]
) -> None:
    """Resize positions that were made for images of (H, W), for a checkpoint that says its size.

    ``pretrained_img_size`` of the encoder comes before it.
    """
    if encoder.pretrained_grid is not None or encoder.grid is None:
        return
    source = patch_grid(img_size, encoder.patch_size, 'the image size of the checkpoint')
    if source == encoder.grid:
        return
    expand_shared_table(encoder, state_dict, prefix)
    for name in position_tables(encoder):
        if prefix + name in state_dict:
            state_dict[prefix + name] = _resize(encoder, name, state_dict[prefix + name], source)


def position_tables(encoder: Backbone) -> dict[str, Tensor]:
    """Return the parameters of the encoder that say where patches are, by name."""
    return {n: p for n, p in encoder.named_parameters() if n.endswith((TABLE, 'pos_embed'))}


def expand_shared_table(encoder: Backbone, state_dict: dict, prefix: str) -> None:
    """Copy a shared table to every layer of an encoder that has one in each."""
    shared = f'{prefix}rel_pos_bias.{TABLE}'
    if encoder.rel_pos != 'per_layer' or shared not in state_dict:
        return
    table = state_dict.pop(shared)
    for layer in range(encoder.num_layers):
        state_dict.setdefault(f'{prefix}blocks.{layer}.attn.{TABLE}', table.clone())
    print_log(f'{shared}: copied to each of the {encoder.num_layers} layers', logger='current')


def fill_positions(encoder: Backbone, state_dict: dict, prefix: str) -> None:
    """Add zeros for a kind of positions that the checkpoint was trained without."""
    if f'{prefix}patch_embed.proj.weight' not in state_dict:
        return
    for kind in (TABLE, 'pos_embed'):
        own = {n: p for n, p in position_tables(encoder).items() if n.endswith(kind)}
        if not own or any(prefix + name in state_dict for name in own):
            continue
        state_dict.update({prefix + n: torch.zeros_like(p) for n, p in own.items()})
        warn(f'{prefix}{next(iter(own))}: the checkpoint has no {kind}; it starts at 0')


def adapt_channels(encoder: Backbone, state_dict: dict, prefix: str) -> None:
    """Make the patch projection one for as many channels as the encoder's images have."""
    name = f'{prefix}patch_embed.proj.weight'
    stored = state_dict.get(name)
    if stored is None or stored.ndim != 4 or stored.shape[1] == encoder.in_channels:
        return
    old, new = stored.shape[1], encoder.in_channels
    if encoder.adapt_channels is None:
        raise UserError(
            f'{name} in the checkpoint is for images with {old} channels, but '
            f"backbone.in_channels={new}; set backbone.adapt_channels to 'mean' or 'tile', or "
            'say for each channel which one of the checkpoint it takes, for example '
            f'{[*range(min(old, new)), *[None] * (new - old)]}'
        )
    state_dict[name] = adapt_patch_weight(stored, new, encoder.adapt_channels)
    print_log(
        f'{name}: {old} channels made {new} by adapt_channels={encoder.adapt_channels!r}',
        logger='current',
    )


def _is_transposed(encoder: Backbone, name: str) -> bool:
    """Return whether the checkpoint's grid is another one of as many positions."""
    source = encoder.pretrained_grid
    return source not in (None, encoder.grid) and (
        _num_positions(name, source) == _num_positions(name, encoder.grid)
    )


def _num_positions(name: str, grid: Grid) -> int:
    return table_length(grid) if name.endswith(TABLE) else 1 + grid[0] * grid[1]


def _resize(encoder: Backbone, name: str, stored: Tensor, source: Grid | None) -> Tensor:
    """Return positions of the grid ``source``, a square if that is None, for the encoder's."""
    is_table = name.endswith(TABLE)
    length = stored.shape[0 if is_table else 1]
    if source is None:
        source = square_grid(length) if is_table else _square(length - 1)
    if source is None or _num_positions(name, source) != length:
        raise UserError(
            f'{name} in the checkpoint has shape {tuple(stored.shape)}, which does not fit a '
            f'grid of {source or "square"} patches; set backbone.pretrained_img_size to the '
            '(H, W) that the checkpoint was trained with'
        )
    print_log(f'{name}: resized from {source} to {encoder.grid} patches', logger='current')
    if is_table:
        resized = resize_table(stored.float(), source, encoder.grid, encoder.rel_pos_resize)
    else:
        resized = resize_pos_embed(stored.float(), source, encoder.grid)
    return resized.to(stored.dtype)


def _square(length: int) -> Grid | None:
    side = round(length**0.5)
    return (side, side) if side * side == length else None


def adapt_patch_weight(
    weight: Tensor, channels: int, method: str | Sequence[int | str | None]
) -> Tensor:
    """Return the patch projection (C, old, p, p) for images with ``channels`` channels.

    ``mean`` gives every new channel the mean of the old ones and keeps the embedding of an image
    that has the same values in all channels. ``tile`` repeats the old ones in turn, as timm
    does for two and more. Both are scaled by old / new. A sequence says for each new channel which
    old one it takes: a number, 'mean', or None for zeros; nothing is scaled then.

    Raises:
        UserError: ``method`` is something else, or has another length than ``channels``.
    """
    old = weight.shape[1]
    mean = weight.mean(1)
    if method == 'mean':
        return torch.stack([mean] * channels, 1) * (old / channels)
    if method == 'tile':
        return torch.stack([weight[:, i % old] for i in range(channels)], 1) * (old / channels)
    if isinstance(method, str) or not isinstance(method, Sequence) or len(method) != channels:
        raise UserError(
            f'backbone.adapt_channels={method!r} for {channels} channels: expected {METHODS}'
        )
    parts = []
    for source in method:
        if source is None:
            parts.append(torch.zeros_like(mean))
        elif source == 'mean':
            parts.append(mean)
        elif isinstance(source, int) and 0 <= source < old:
            parts.append(weight[:, source])
        else:
            raise UserError(
                f'backbone.adapt_channels has {source!r}, but the checkpoint has channels 0 to '
                f'{old - 1}: expected {METHODS}'
            )
    return torch.stack(parts, dim=1)
