"""The names of blocks that mmpretrain and mmseg share: ``layers``, ``ln1``, ``ffn``."""

import re

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


def theirs(name: str) -> str:
    for pattern, replacement in RULES:
        name = re.sub(pattern, replacement, name)
    return name


def ours(name: str) -> str:
    for pattern, replacement in BACK:
        name = re.sub(pattern, replacement, name)
    return name
