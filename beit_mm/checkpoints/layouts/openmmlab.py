"""The names of blocks that mmpretrain and mmseg share: ``layers``, ``ln1``, ``ffn``."""

import re
from collections.abc import Collection

# ours -> theirs, for a name below backbone. or below an extra block of the neck
RULES = (
    (r'^patch_embed\.proj\.', 'patch_embed.projection.'),
    (r'^blocks\.(\d+)\.', r'layers.\1.'),
    (r'^(layers\.\d+|\d+)\.norm1\.', r'\1.ln1.'),
    (r'^(layers\.\d+|\d+)\.norm2\.', r'\1.ln2.'),
    (r'^(layers\.\d+|\d+)\.mlp\.fc1\.', r'\1.ffn.layers.0.0.'),
    (r'^(layers\.\d+|\d+)\.mlp\.fc2\.', r'\1.ffn.layers.1.'),
)
BACK = (
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'^(layers\.\d+|\d+)\.ln1\.', r'\1.norm1.'),
    (r'^(layers\.\d+|\d+)\.ln2\.', r'\1.norm2.'),
    (r'^(layers\.\d+|\d+)\.ffn\.layers\.0\.0\.', r'\1.mlp.fc1.'),
    (r'^(layers\.\d+|\d+)\.ffn\.layers\.1\.', r'\1.mlp.fc2.'),
    (r'^layers\.(\d+)\.', r'blocks.\1.'),
)
ENCODER = re.compile(
    r'(cls_token|mask_token|pos_embed|patch_embed\.projection\.(weight|bias)|layers\.\d+\..+'
    r'|rel_pos_bias\..+|ln1\.(weight|bias))'
)


# What mmpretrain's BEiTViT has, and mmseg's BEiT has no place for.
VIT_ONLY = ('ln2.', 'rel_pos_bias.', 'pos_embed', 'mask_token')


def is_bare_vit(names: Collection[str]) -> bool:
    """A BEiTViT without ``backbone.``; beit2mmseg.py leaves a second patch embedding in its files.

    One that has nothing of ``VIT_ONLY`` has mmseg's names, and the same function under them.
    """
    return (
        'patch_embed.projection.weight' in names
        and 'patch_embed.proj.weight' not in names
        and any(name.startswith(VIT_ONLY) for name in names)
    )


def theirs(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def ours(name: str) -> str:
    for pattern, replacement in BACK:
        name = re.sub(pattern, replacement, name)
    return name
