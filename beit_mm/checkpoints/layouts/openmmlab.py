"""The names of blocks that mmpretrain and mmseg share: ``layers``, ``ln1``, ``ffn``."""

import re
from collections.abc import Collection

# (ours, theirs) of parts of names below backbone. or below an extra block of the neck
PARTS = (
    ('patch_embed.proj.', 'patch_embed.projection.'),
    ('.norm1.', '.ln1.'),
    ('.norm2.', '.ln2.'),
    ('.mlp.fc1.', '.ffn.layers.0.0.'),
    ('.mlp.fc2.', '.ffn.layers.1.'),
)
# Names of the encoder itself, as they write them.
ENCODER = (
    r'(?:cls_token|mask_token|pos_embed|patch_embed\.projection\.(?:weight|bias)|layers\.\d+\..+'
    r'|rel_pos_bias\..+|ln1\.(?:weight|bias))'
)
# What mmpretrain's BEiTViT has, and mmseg's BEiT has no place for.
VIT_ONLY = ('ln2.', 'rel_pos_bias.', 'pos_embed', 'mask_token')


def is_bare_vit(names: Collection[str]) -> bool:
    """Return whether it is a BEiTViT without ``backbone.``.

    Files of beit2mmseg.py have a second patch embedding. A BEiTViT that has nothing of
    ``VIT_ONLY`` has mmseg's names, and the same function under them.
    """
    return (
        'patch_embed.projection.weight' in names
        and 'patch_embed.proj.weight' not in names
        and any(name.startswith(VIT_ONLY) for name in names)
    )


def is_beit_block(names: Collection[str], prefix: str) -> bool:
    """Return whether the first block under ``prefix`` has their names and the marks of BEiT."""
    block = f'{prefix}layers.0.'
    return f'{block}ffn.layers.0.0.weight' in names and (
        f'{block}gamma_1' in names or f'{block}attn.q_bias' in names
    )


def theirs(name: str) -> str:
    name = re.sub(r'^blocks\.(\d+)\.', r'layers.\1.', name)
    for own, other in PARTS:
        name = _replace(name, own, other)
    return name


def ours(name: str) -> str:
    for own, other in PARTS:
        name = _replace(name, other, own)
    return re.sub(r'^layers\.(\d+)\.', r'blocks.\1.', name)


def _replace(name: str, old: str, new: str) -> str:
    """Replace a part that ``name`` starts with, or that follows the number of a layer in it."""
    layer = r'(?:layers\.\d+|\d+)' if old.startswith('.') else ''
    return re.sub(rf'^({layer}){re.escape(old)}', rf'\g<1>{new}', name)
